"""Shards: sizes, neighbours, names, plan files, and what is left out when an output has it."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.clip import Clip
from pipeline.manifest import ClipHashes, ClipRow, ManifestError, read_manifest
from pipeline.plan import shards
from pipeline.plan.shards import Plan, plan_shards, shard_size, write_plan
from pipeline.plan.todo import missing, require_unchanged

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def clip_row(number, video="v.mp4", frames=10):
    return ClipRow(f"c{number}", "ab" * 32, video, frames, f'{{"clip_id":"c{number}"}}', number + 1, "m.jsonl")


def plan(rows, clips_per_file=32, **options):
    options = {"config_hash": "x", "concurrent_calls": 1, "total_clips": 10**6, **options}
    return list(plan_shards(iter(rows), clips_per_file=clips_per_file, **options))


def numbers(plan):
    return [[int(json.loads(text)["clip_id"][1:]) for text in shard.clips] for shard in plan]


@pytest.mark.parametrize(
    ("clips_per_file", "calls", "clips", "size"),
    [(32, 2, 28, 4), (32, 2, 10_000, 32), (5, 2, 10_000, 5), (32, 8, 3, 1), (32, 1, 0, 1), (1, 1, 1, 1)],
)
def test_shard_size(clips_per_file, calls, clips, size):
    assert shard_size(clips_per_file, calls, clips) == size


def test_neighbours_of_one_video_stay_together():
    videos = ["a"] * 3 + ["b"] * 2 + ["c"] * 9 + ["d"]
    rows = [clip_row(i, video) for i, video in enumerate(videos)]
    assert numbers(plan(rows, 4)) == [[0, 1, 2], [3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14]]


def test_frames_end_a_shard():
    rows = [clip_row(i, f"{i}", frames) for i, frames in enumerate([60, 50, 40, 500, None, 1])]
    found = plan(rows, frames_cap=100)
    assert numbers(found) == [[0], [1, 2], [3], [4], [5]]
    assert [shard.frames for shard in found] == [60, 90, 500, shards.UNKNOWN_FRAMES, 1]


@unhurried
@given(
    st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(1, 90)), max_size=60),
    st.integers(1, 9),
    st.integers(50, 5000),
)
def test_every_clip_is_in_one_shard_in_order_and_within_limits(items, size, cap):
    rows = [clip_row(i, str(video), frames) for i, (video, frames) in enumerate(items)]
    found = plan(rows, size, frames_cap=cap)
    assert [number for shard in numbers(found) for number in shard] == list(range(len(rows)))
    for shard in found:
        assert 1 <= len(shard.clips) <= size
        assert shard.frames <= cap or len(shard.clips) == 1
    assert len({shard.name for shard in found}) == len(found)


def test_names_cover_clips_and_configuration():
    rows = [clip_row(i) for i in range(4)]
    names = [shard.name for shard in plan(rows, 2)]
    assert names == [shard.name for shard in plan(rows, 2)]
    assert not set(names) & {shard.name for shard in plan(rows, 2, config_hash="y")}
    assert not set(names) & {shard.name for shard in plan(rows[::-1], 2)}
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_plan_files(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_FILE_SHARDS", 3)
    made = plan([clip_row(i) for i in range(16)], 2)
    assert write_plan(iter(made), f"{tmp_path}/_runs/r/plan") == Plan(f"{tmp_path}/_runs/r/plan", 8, 16, 160)
    paths = sorted((tmp_path / "_runs/r/plan").iterdir())
    assert [path.name for path in paths] == [f"plan-{i:06d}.parquet" for i in range(3)]
    rows = [row for path in paths for row in pq.read_table(path, schema=shards.PLAN_SCHEMA).to_pylist()]
    assert [(row["name"], tuple(row["clips"]), row["frames"]) for row in rows] == [
        (shard.name, shard.clips, shard.frames) for shard in made
    ]
    assert [row["n_clips"] for row in rows] == [2] * 8


def test_plan_files_are_cut_by_size(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_FILE_CHARS", 100)
    write_plan(plan([clip_row(i) for i in range(40)], 2), str(tmp_path))
    assert len(list(tmp_path.iterdir())) > 5


@pytest.fixture
def manifest(tmp_path):
    def make(ends):
        lines = [
            f'{{"video_uri":"v.mp4","clip_id":"{name}","end_frame":{end},"objects":[{{"box":[1,2,3,4]}}]}}'
            for name, end in ends.items()
        ]
        (tmp_path / "m.jsonl").write_text("\n".join(lines))
        return read_manifest(str(tmp_path / "m.jsonl"), in_process=True)

    return make


def test_finished_clips_are_left_out_whatever_the_order(manifest):
    done = manifest({"a": 5, "b": 6, "gone": 7})
    finished = ClipHashes((clip.clip_id, clip.clip_hash) for clip in done.clips())
    larger = manifest({"c": 9, "b": 6, "d": 9, "a": 5})
    assert require_unchanged(larger, finished) == 2
    left = list(missing(larger.rows(), finished))
    assert [row.clip_id for row in left] == ["c", "d"]
    assert isinstance(left[0].clip(), Clip)
    assert require_unchanged(larger, ClipHashes()) == 4


def test_changed_clips_are_refused_and_both_sides_named(manifest):
    old = manifest({"a": 5, "b": 6, "c": 7})
    finished = ClipHashes((clip.clip_id, clip.clip_hash) for clip in old.clips())
    before = {clip.clip_id: clip.clip_hash for clip in old.clips()}
    changed = manifest({"new": 1, "a": 5, "b": 60, "c": 70})
    after = {clip.clip_id: clip.clip_hash for clip in changed.clips()}
    with pytest.raises(ManifestError) as caught:
        require_unchanged(changed, finished)
    assert [(problem.row, problem.column) for problem in caught.value.problems] == [(3, "clip_id"), (4, "clip_id")]
    for name in "bc":
        assert f"clip {name} " in str(caught.value)
        assert before[name][:12] in str(caught.value)
        assert after[name][:12] in str(caught.value)
