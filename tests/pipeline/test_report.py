"""The report of an output: its figures, its sample of clips, what is shown of a clip, and the page."""

from __future__ import annotations

import base64
import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.options import UsageError
from pipeline.report import RunFacts, collect, page, sheet
from pipeline.report.__main__ import remake
from pipeline.report.page import render_page
from pipeline.report.sample import Sample, Sampler
from pipeline.report.sheet import show_clip
from pipeline.report.tracks import BINS, CURVES, read_frames, read_tracks
from pipeline.spool import write_masks
from pipeline.tables import CLIPS, clips_table, masks_batch
from tests.pipeline.output_rows import Result, Row, clip, rectangle
from tests.pipeline.videos import make_video

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 64, 48
STARTED = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
CONFIG: dict[str, Any] = {
    "run_id": "run-2",
    "started_at": "2026-05-04T10:00:00+00:00",
    "config_hash": "c" * 64,
    "options": {"manifest": "m.jsonl", "stride": 1, "rotated_box": "mbr"},
    "weights": {"name": "w", "sha256": "s" * 64, "layout": "own", "network": {"backbone": "resnet18"}},
    "placement": {"device": "cpu", "actors": [1, 2]},
    "versions": {"python": "3.11"},
}
RUN = {"run_id": "run-2", "exit_status": 0, "output": "out", "started_at": CONFIG["started_at"], "finished_at": None}


def tracked(object_id: str, frames: range, score: float = 0.5, result: Result | None = None) -> list[Row]:
    """One object: its score falls, its mask is a rectangle of 160 pixels unless another is given."""
    result = result or rectangle(10, 5, 20, 8, HEIGHT, WIDTH)
    return [Row(object_id, i, i / 25, max(0.0, score - i / 1000), (10, 5, 20, 8), result) for i in frames]


def ended(clip_id: str, status: str = "ok", *, seconds: float = 4.0, frames: int = 10, **more: Any) -> dict[str, Any]:
    """A row of `clips` of a video of 64x48 pixels and 25 frames a second."""
    values: dict[str, Any] = {
        "frames": frames,
        "start_frame": 0,
        "end_frame": frames,
        "fps": 25.0,
        "width": WIDTH,
        "height": HEIGHT,
        "started_at": STARTED,
        "finished_at": STARTED + timedelta(seconds=seconds),
        "decode_wait_s": 1.0,
        "run_id": "run-2",
    }
    return clip(clip_id, status, **{**values, **more})


class Output:
    """An output folder, written part by part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder)
        for name in ("masks", "clips", "videos"):
            (folder / name).mkdir(parents=True)

    def add(self, shard: str, clips: list[dict[str, Any]], rows: dict[str, list[Row]] | None = None) -> None:
        """A commit: clips of one status and their rows."""
        masks = f"part-{shard}-0123456789ab.parquet" if rows else None
        if rows:
            write_masks(self.folder / "masks" / str(masks), (masks_batch(name, rows[name]) for name in sorted(rows)))
        ending = "" if clips[0]["status"] == "ok" else f"-{clips[0]['status']}"
        named = [{**row, "masks_part": masks if rows and row["clip_id"] in rows else None} for row in clips]
        pq.write_table(clips_table(named, CLIPS), self.folder / "clips" / f"part-{shard}-0000{ending}.parquet")

    def row(self, clip_id: str) -> dict[str, Any]:
        return next(row for row in pq.read_table(self.folder / "clips").to_pylist() if row["clip_id"] == clip_id)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "out")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault of the clips that are shown here."""
    monkeypatch.setattr(sheet, "CLIP_WITHIN_S", 120.0)


def test_figures_come_from_the_tables_and_tell_the_run_from_those_before(output: Output) -> None:
    rows = {"a": tracked("x", range(10)) + tracked("y", range(4)), "b": tracked("x", range(10))}
    output.add("s1", [ended("a", objects=2), ended("b", seconds=9.0, decode_wait_s=5.5)], rows)
    output.add("s2", [ended("old", run_id="run-1", seconds=99.0)], {"old": tracked("x", range(10))})
    output.add("s3", [ended("cut", "partial", frames=5, end_frame=20)], {"cut": tracked("x", range(5))})
    output.add("s4", [ended(f"lost{i}", "failed", frames=0, fps=None, error_stage="fetch") for i in range(5)])
    figures = collect(output.uri, RunFacts("run-2", wall_s=20.0, actors=2, busy_s=10.0, commits=3)).to_dict()
    assert figures["clips"] == {"total": 9, "ok": 3, "partial": 1, "failed": 5, "this_run": 8}
    assert (figures["objects"], figures["frames"], figures["track_frames"]) == (10, 35, 39)
    assert figures["video_hours"] == pytest.approx(35 / 25 / 3600)
    groups = [(one["stage"], one["type"], one["clips"], one["partial"]) for one in figures["failures"]]
    assert groups == [("fetch", "InvalidData", 5, 0), ("decode", "InvalidData", 1, 1)]
    assert len(figures["failures"][0]["examples"]) == 3
    assert figures["failures"][1]["examples"] == [
        {"clip_id": "cut", "status": "partial", "message": "broken at frame 7"}
    ]
    assert [one["clip_id"] for one in figures["slowest"]][0] == "b"
    assert "old" not in {one["clip_id"] for one in figures["slowest"]}
    run = figures["run"]
    assert (run["frames"], run["track_frames"], run["track_frames_per_s"]) == (25, 29, 1.45)
    assert run["video_hours_per_hour"] == pytest.approx(1 / 20)
    assert (run["device_busy"], run["commits"]) == (0.25, 3)
    assert run["decode_wait_share"] == pytest.approx((7 * 1.0 + 5.5) / (7 * 4.0 + 9.0), abs=1e-4)


def test_a_stride_stands_for_the_frames_that_it_passes_over(output: Output) -> None:
    output.add("s1", [ended("a", frames=4, end_frame=10)], {"a": tracked("x", range(0, 10, 3))})
    assert collect(output.uri, RunFacts("run-2", stride=3)).video_hours == pytest.approx(10 / 25 / 3600)


def test_what_is_not_known_of_a_run_is_null(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    run = collect(output.uri, RunFacts("run-2")).run
    rates = {"frames_per_s", "track_frames_per_s", "video_hours_per_hour", "device_busy"}
    unknown = {name for name, value in run.items() if value is None}
    assert unknown == rates | {"wall_s", "actors", "busy_s", "commits"}


def test_a_masks_part_that_is_gone_is_a_warning(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    next((output.folder / "masks").iterdir()).unlink()
    figures = collect(output.uri, RunFacts("run-2"))
    assert (figures.clips["ok"], figures.track_frames) == (1, 0)
    assert figures.warnings == ["1 masks parts could not be read; their rows are not counted"]


def test_the_sample_is_the_same_in_any_order_and_has_some_that_failed() -> None:
    rows = [{"clip_id": f"c{i:04d}", "status": "ok" if i % 10 else "failed"} for i in range(1000)]
    samples = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        sampler = Sampler(24)
        for row in rows:
            sampler.add(row)
        samples.append(sampler.sample())
    assert samples[0] == samples[1] == samples[2]
    assert samples[0].total == 1000
    chosen = samples[0].clips
    assert [row["status"] for row in chosen].count("failed") == 6
    assert [row["clip_id"] for row in chosen] == sorted({row["clip_id"] for row in chosen})
    assert len(chosen) == 24


@pytest.mark.parametrize(("good", "bad", "size", "want"), [(3, 0, 8, 3), (2, 9, 8, 8), (0, 4, 8, 4), (5, 5, 0, 0)])
def test_a_small_output_is_shown_whole(good: int, bad: int, size: int, want: int) -> None:
    sampler = Sampler(size)
    for i in range(good + bad):
        sampler.add({"clip_id": f"c{i}", "status": "ok" if i < good else "partial"})
    assert len(sampler.sample().clips) == want
    assert sampler.sample().total == good + bad


def test_curves_are_means_of_bounded_number_that_keep_the_least_score(output: Output) -> None:
    frames = 5000
    rows = tracked("x", range(frames), score=6.0) + tracked("y", range(4000, 4010))
    rows[2500] = Row("x", 2500, 100.0, 0.001, (10, 5, 20, 8), rectangle(10, 5, 20, 8, HEIGHT, WIDTH))
    output.add("s1", [ended("a", frames=frames)], {"a": rows})
    tracks = read_tracks(output.uri, output.row("a"))
    x, y = tracks.curves
    assert tracks.object_ids == ["x", "y"]
    assert len(x.frame) == BINS and (x.rows, y.rows) == (frames, 10)
    assert x.least_score == pytest.approx(0.001)
    np.testing.assert_allclose(np.average(x.score, weights=x.rows_in_bin), np.mean([row.score for row in rows[:5000]]))
    assert set(x.area) == {160}
    assert y.frame.min() >= 4000 and y.frame.max() < 4010
    assert tracks.frames[0] == 0 and len(tracks.frames) == BINS


def test_frames_are_read_with_their_objects_alone(output: Output) -> None:
    rows = {"a": tracked("x", range(10)) + tracked("y", range(5, 10)), "b": tracked("z", range(10))}
    output.add("s1", [ended("a"), ended("b")], rows)
    found = read_frames(output.uri, output.row("a"), [3, 7, 50])
    assert {frame: [item.object_id for item in one.objects] for frame, one in found.items()} == {
        3: ["x"],
        7: ["x", "y"],
    }
    assert found[7].pts_s == pytest.approx(7 / 25)


def test_of_very_many_objects_those_that_have_a_colour_get_a_curve(output: Output) -> None:
    rows = [row for i in range(CURVES + 3) for row in tracked(f"o{i:03d}", range(2))]
    output.add("s1", [ended("a", frames=2)], {"a": rows})
    shown = show_clip(output.uri, output.row("a"), [])
    assert (len(shown.objects), shown.more_objects) == (CURVES, 3)


def test_a_clip_shows_its_frames_with_masks_in_the_objects_colours(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 30, width=WIDTH, height=HEIGHT)
    whole = rectangle(0, 0, WIDTH, HEIGHT, HEIGHT, WIDTH)
    output.add("s1", [ended("a", frames=30)], {"a": tracked("x", range(30), result=whole)})
    shown = show_clip(output.uri, output.row("a"), [str(output.folder / "elsewhere"), output.uri])
    assert shown.notes == []
    assert [frame.frame_index for frame in shown.frames] == [0, 10, 19, 29]
    assert shown.frames[1].pts_s == pytest.approx(10 / 25)
    data = base64.b64decode(shown.frames[1].data_uri.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape == (HEIGHT, WIDTH, 3) == (shown.frames[1].height, shown.frames[1].width, 3)
    assert image[30, 4, 0] > 80, "orange lies over the dark left side of the picture"
    assert shown.curves.startswith("<svg viewBox=") and "var(--object-0)" in shown.curves


def test_large_frames_are_made_small_and_keep_their_shape(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 2, width=720, height=1280)
    rows = tracked("x", range(2), result=rectangle(200, 300, 300, 400, 1280, 720))
    output.add("s1", [ended("a", frames=2, width=720, height=1280)], {"a": rows})
    shown = show_clip(output.uri, output.row("a"), [output.uri])
    assert {(frame.width, frame.height) for frame in shown.frames} == {(152, 270)}
    assert sum(len(frame.data_uri) for frame in shown.frames) < 60_000


def test_what_cannot_be_shown_says_why(output: Output) -> None:
    make_video(output.folder / "videos" / "other.mp4", 30, width=128, height=96)
    (output.folder / "videos" / "text.mp4").write_text("no video")
    clips = [ended(name) for name in ("gone", "other", "text")]
    output.add("s1", clips, {row["clip_id"]: tracked("x", range(10)) for row in clips})
    output.add("s2", [ended("late", "failed", error_stage="init", video_uri="videos/other.mp4", end_frame=None)])
    output.add("s3", [ended("absent", "failed", error_stage="fetch")])
    shown = {
        name: show_clip(output.uri, output.row(name), [output.uri])
        for name in ("gone", "other", "text", "late", "absent")
    }
    notes = {name: " ".join(one.notes) for name, one in shown.items()}
    assert "gone.mp4: No such file" in notes["gone"]
    assert "another video than the one that was tracked" in notes["other"]
    assert "text.mp4 is not a video" in notes["text"]
    assert all(shown[name].curves and not shown[name].frames for name in ("gone", "other", "text"))
    assert [frame.frame_index for frame in shown["late"].frames] == [0], "the first frame of a clip that failed later"
    assert shown["absent"].frames == [] and notes["absent"] == ""


def test_the_video_of_a_clip_that_killed_its_decoder_is_left_alone(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 10, width=WIDTH, height=HEIGHT)
    output.add("s1", [ended("a", "failed", error_stage="decode", error_type="WorkerCrashed")])
    assert show_clip(output.uri, output.row("a"), [output.uri]).frames == []


def test_rows_that_cannot_be_read_do_not_hide_the_frames(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 10, width=WIDTH, height=HEIGHT)
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    next((output.folder / "masks").iterdir()).write_bytes(b"no Parquet")
    shown = show_clip(output.uri, output.row("a"), [output.uri])
    assert len(shown.frames) == 4 and "rows cannot be read" in shown.notes[0]


def test_the_page_escapes_what_others_wrote_and_asks_for_nothing(output: Output) -> None:
    message = "<script>alert(1)</script> \"quoted\" & 'more'"
    output.add("s1", [ended("bad", "failed", error_message=message, error_type="<b>", error_stage="fetch")])
    figures = collect(output.uri, RunFacts("run-2"), 5)
    shown = [show_clip(output.uri, row, []) for row in figures.sample.clips]
    html = render_page(figures, shown, run={**RUN, "output": "s3://b/<i>"}, config=CONFIG)
    assert "<script>alert" not in html and "<b>" + "</td>" not in html and "b/<i>" not in html
    assert "&lt;script&gt;alert(1)" in html
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)""", html)
    assert all(address.startswith(("data:", "#")) for pair in addresses for address in pair if address)
    assert "1 of 1 clip shown" in html


def test_a_sample_says_of_how_many(output: Output) -> None:
    for i in range(7):
        output.add(f"s{i}", [ended(f"c{i}", "failed", error_stage="fetch")])
    figures = collect(output.uri, RunFacts("run-2"), 5)
    shown = [show_clip(output.uri, row, []) for row in figures.sample.clips]
    figures.sample = Sample(figures.sample.clips, 10_000)
    assert "5 of 10,000 clips shown: a random sample" in render_page(figures, shown, run=RUN, config=CONFIG)


def test_an_output_without_a_clip_has_a_page(output: Output) -> None:
    html = render_page(collect(output.uri, RunFacts("run-2")), [], run={**RUN, "exit_status": None}, config=CONFIG)
    assert "not finished" in html and "every clip is ok" in html


def test_numbers_are_written_for_people() -> None:
    import doctest

    assert doctest.testmod(page).failed == 0


def write_run(output: Output, report: dict[str, Any] | None = None) -> Path:
    folder = output.folder / "_runs" / "run-2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_a_report_is_made_again_and_keeps_the_runs_own_figures(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    folder = write_run(output)
    assert remake(output.uri, None, 0, None) == str(folder / "report.html")
    first = json.loads((folder / "report.json").read_text())
    assert (first["run"]["wall_s"], first["exit_status"], first["track_frames"]) == (None, None, 10)
    first["run"]["wall_s"], first["exit_status"] = 12.5, 3
    (folder / "report.json").write_text(json.dumps(first))
    output.add("s2", [ended("b", run_id="run-3")], {"b": tracked("x", range(10))})
    remake(output.uri, "run-2", 0, None)
    again = json.loads((folder / "report.json").read_text())
    assert (again["run"], again["exit_status"]) == (first["run"], 3)
    assert again["clips"] == {"total": 2, "ok": 2, "partial": 0, "failed": 0, "this_run": 1}
    assert "12 s" in (folder / "report.html").read_text()


def test_an_interrupted_runs_report_is_made_from_the_tables(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    folder = write_run(output, {"run_id": "run-2", "exit_status": 130, "finished_at": "2026-05-04T10:01:00+00:00"})
    remake(output.uri, None, 0, None)
    made = json.loads((folder / "report.json").read_text())
    assert (made["exit_status"], made["run"]["track_frames"]) == (130, 10)
    assert "interrupted" in (folder / "report.html").read_text()


def test_a_run_that_is_not_there_is_named(output: Output) -> None:
    with pytest.raises(UsageError, match="has no run"):
        remake(output.uri, None, 0, None)
    with pytest.raises(UsageError, match="no run nine"):
        remake(output.uri, "nine", 0, None)


def test_every_figure_is_documented(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    folder = write_run(output)
    remake(output.uri, None, 0, None)
    made = json.loads((folder / "report.json").read_text())
    actual = {name for name in made if name != "run"} | {f"run.{name}" for name in made["run"]}
    table = (ROOT / "docs" / "report.md").read_text().split("## `report.json`")[1]
    documented = {
        name for row in re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    assert documented == actual
