"""Reading an output: the rows that are committed and no others, from disk and from S3, by every road."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import open_run, storage
from pipeline.output.schema import MASKS
from pipeline.reading import NoSuchClip, NoSuchFrame, NoSuchObject, NoSuchRun, NotInRun, Run
from pipeline.reading.draw import RenderError
from tests.conftest import ROOT, S3Store
from tests.pipeline.example_run import RUN_ID, ExampleRun, write_example
from tests.pipeline.videos import picture, plain


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module", params=["local", "s3"])
def run(request: pytest.FixtureRequest, example: ExampleRun) -> Run:
    if request.param == "local":
        return open_run(example.output)
    store: S3Store = request.getfixturevalue("s3_store")
    return open_run(example.upload(store.uri("open-run")))


def key(row: dict) -> tuple:
    return row["clip_id"], row["object_id"], row["frame_index"]


def test_only_what_is_committed_counts(run: Run, example: ExampleRun) -> None:
    rows = run.masks().arrow().to_pylist()
    truth = {(t.clip_id, t.object_id, t.frame): t for t in example.tracks}
    assert Counter(map(key, rows)) == Counter(truth.keys())
    assert all(row["area"] == truth[key(row)].area for row in rows)
    clips = run.clips().arrow().to_pylist()
    assert sorted(clip["clip_id"] for clip in clips) == sorted(example.clips)
    assert {clip["clip_id"]: clip["precision"] for clip in clips}["odd"] == "bf16", "the first commit counts"
    assert run.masks().count() == len(truth) and run.clips(status="failed").count() == 1
    assert sorted(run.clip_ids) == sorted(example.clips) and len(run) == len(example.clips)
    assert repr(run) == f"Run({run.uri!r}, {len(example.clips)} clips)"


def test_a_status_that_no_clip_can_have_is_an_error(run: Run) -> None:
    for status in ("okay", ["ok", "Failed"]):
        with pytest.raises(ValueError, match="no clip has the status '(okay|Failed)'; there are ok, partial, failed"):
            run.clips(status=status)


def test_every_road_leads_to_the_same_rows(run: Run, example: ExampleRun) -> None:
    columns = ["object_id", "frame_index", "area"]
    rows = run.masks(clip_id=["alpha", "odd"], frames=(9, 15), columns=columns)
    chosen = [t for t in example.tracks if t.clip_id in ("alpha", "odd") and 9 <= t.frame < 15]
    want = sorted((t.object_id, t.frame, t.area) for t in chosen)
    assert len(want) == 11
    with duckdb.connect() as connection:
        roads = {
            "arrow": [tuple(row.values()) for row in rows.arrow().to_pylist()],
            "batches": [tuple(row.values()) for batch in rows.batches() for row in batch.to_pylist()],
            "scanner": [tuple(row.values()) for row in rows.scanner().to_table().to_pylist()],
            "pandas": list(rows.pandas().itertuples(index=False, name=None)),
            "polars": rows.polars().collect().rows(),
            "duckdb": rows.duckdb(connection).fetchall(),
        }
        for name, found in roads.items():
            assert sorted(found) == want, name
        relation = run.masks().duckdb(connection)
        far = relation.filter("clip_id = 'alpha' AND rbox.cx > 100 AND frame_index % 2 = 0").fetchall()
    alpha = [t for t in example.of("alpha") if t.box[0] + t.box[2] / 2 > 100 and t.frame % 2 == 0]
    assert len(far) == len(alpha) > 3
    lazy = run.masks().polars().filter(pl.col("rbox").struct.field("cx") > 100, clip_id="alpha")
    assert lazy.filter(pl.col("frame_index") % 2 == 0).collect().height == len(far)


@pytest.mark.parametrize(
    ("asked", "right"),
    [
        ({"object_id": "b"}, lambda t: t.object_id == "b"),
        ({"object_id": ["x", "007"]}, lambda t: t.object_id in ("x", "007")),
        ({"frames": 5}, lambda t: t.frame == 5),
        ({"frames": (None, 3)}, lambda t: t.frame < 3),
        ({"frames": (20, None), "clip_id": "alpha"}, lambda t: t.frame >= 20 and t.clip_id == "alpha"),
        ({"where": pc.field("score") > 0.795}, lambda t: t.score > 0.795),
        ({"clip_id": "lost"}, lambda t: False),
        ({"clip_id": []}, lambda t: False),
    ],
)
def test_conditions(run: Run, example: ExampleRun, asked: dict, right: object) -> None:
    assert run.masks(**asked).count() == sum(map(right, example.tracks))  # type: ignore[call-overload]


def test_files_that_cannot_hold_the_rows_stay_closed(example: ExampleRun, tmp_path: Path) -> None:
    output = tmp_path / "run"
    for path in Path(example.output).rglob("*.parquet"):
        target = output / path.relative_to(example.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes() if path.parent.name == "clips" or "0bb2" in path.name else b"no Parquet")
    run = open_run(str(output))
    odd = len(example.of("odd"))
    assert run.masks(clip_id="odd").count() == odd
    assert run.masks().polars().filter(pl.col("clip_id") == "odd").collect().height == odd
    with duckdb.connect() as connection:
        assert len(run.masks().duckdb(connection).filter("clip_id = 'odd'").fetchall()) == odd
    assert run.clip("odd").mask("007", 3).any()
    with pytest.raises(storage.StorageError, match="masks"):
        run.masks(clip_id="alpha").arrow()


def test_row_groups_that_cannot_hold_the_rows_are_not_read(example: ExampleRun, tmp_path: Path) -> None:
    """Their bytes are overwritten: whoever reads them fails."""
    output = tmp_path / "run"
    for path in Path(example.output).rglob("*.parquet"):
        target = output / path.relative_to(example.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    part = output / "masks" / example.clips["alpha"]["masks_part"]
    pq.write_table(pq.read_table(part).sort_by("frame_index"), part, row_group_size=10)
    groups = [pq.read_metadata(part).row_group(i) for i in range(pq.read_metadata(part).num_row_groups)]
    place = MASKS.names.index("frame_index")
    last = [g for g in groups if g.column(place).statistics.min > 10]
    assert last
    data = bytearray(part.read_bytes())
    for group in last:
        for i in range(group.num_columns):
            column = group.column(i)
            start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
            data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    part.write_bytes(data)
    run = open_run(str(output))
    few = [t for t in example.tracks if t.clip_id in ("alpha", "crowd") and t.frame < 7]
    clips = ["alpha", "crowd"]
    assert run.masks(clip_id=clips, frames=(0, 7)).arrow().num_rows == len(few)
    lazy = run.masks(clip_id=clips).polars().filter(pl.col("frame_index") < 7).select("mask", "score")
    assert lazy.collect().height == len(few)
    with duckdb.connect() as connection:
        relation = run.masks(clip_id=clips).duckdb(connection).filter("frame_index < 7")
        assert len(relation.fetchall()) == len(few)
    with pytest.raises(storage.StorageError):
        run.masks(clip_id=clips).arrow()


def test_masks_are_the_tables(run: Run, example: ExampleRun) -> None:
    for clip_id in ("alpha", "crowd", "cut", "odd"):
        clip = run.clip(clip_id)
        assert clip.object_ids == sorted({t.object_id for t in example.of(clip_id)})
        for track in example.of(clip_id):
            mask = clip.mask(track.object_id, track.frame)
            assert mask.dtype == bool and np.array_equal(mask, track.mask)


def test_overlay_draws_on_the_source_frame(run: Run, example: ExampleRun) -> None:
    from model.video.overlay import OverlayStyle

    clip = run.clip("alpha")
    bare = OverlayStyle(contour=False, box=False, label=False)
    shown = clip.overlay(14, bare)
    source = plain(example.videos["alpha"]).frames[14]
    masks = [t.mask for t in example.of("alpha") if t.frame == 14]
    outside = ~np.logical_or.reduce(masks)
    assert shown.dtype == np.uint8 and shown.shape == (96, 160, 3)
    assert np.array_equal(shown[outside], source[outside]) and (shown[masks[1]] != source[masks[1]]).any(axis=1).all()
    assert np.abs(source.astype(int) - picture(14, 160, 96)).mean() < 12, "frame 14 of the source, not of the range"
    assert [index for index, _ in clip.overlays(26)] == [26, 27]


def test_what_is_not_there_is_named(run: Run, example: ExampleRun) -> None:
    alpha = run.clip("alpha")
    cases = [
        (lambda: run.clip("alpah"), NoSuchClip, "no clip 'alpah' among its 5; did you mean 'alpha'"),
        (lambda: alpha.mask("c", 5), NoSuchObject, "clip alpha has no object 'c'; it has 'a', 'b'"),
        (lambda: alpha.mask("a", 28), NoSuchFrame, "clip alpha has no frame 28; its frames are 4 to 27"),
        (lambda: alpha.mask("b", 5), NoSuchFrame, "clip alpha, object b: no row for frame 5"),
        (lambda: alpha.overlay(3), NoSuchFrame, "clip alpha has no frame 3"),
        (lambda: run.clip("odd").mask("007", 4), NoSuchFrame, "two strides of 3"),
        (lambda: run.clip("lost").mask("0", 0), NoSuchObject, r"clip lost has no masks: it failed \(fetch: lost.mkv"),
        (lambda: run.clip("lost").overlay(0), NoSuchObject, "clip lost has no masks"),
        (lambda: open_run(run.uri + "/masks"), NoSuchRun, "masks holds no run"),
        (lambda: run.masks(object_id="A"), NoSuchObject, "no mask of an object 'A' in .*: there are '0', '007', 'a',"),
        (lambda: run.masks(object_id=["a", "z1"]), NoSuchObject, "'z1' in .*; did you mean 'z'"),
        (lambda: run.masks(object_id="x", clip_id="alpha"), NoSuchObject, r"the clip\(s\) 'alpha': there are 'a', 'b'"),
        (lambda: run.masks(object_id="0", clip_id="lost"), NoSuchObject, "'lost': there are none at all"),
        (lambda: run.masks(columns=["clip"]), ValueError, "masks has no column 'clip'; it has clip_id, "),
    ]
    for ask, kind, message in cases:
        with pytest.raises(kind, match=message):
            ask()
        assert kind is ValueError or issubclass(kind, NotInRun)


def test_videos_that_moved(example: ExampleRun, tmp_path: Path) -> None:
    for path in Path(example.output).rglob("*.parquet"):
        target = tmp_path / "run" / path.relative_to(example.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    output = str(tmp_path / "run")  # without the config that names the manifest
    with pytest.raises(RenderError, match=r"clip odd: the video 'videos/odd.mkv' .*videos="):
        open_run(output).clip("odd").overlay(0)
    moved = tmp_path / "moved" / "videos"
    moved.mkdir(parents=True)
    shutil.copy(example.videos["odd"], moved)
    folders = json.dumps({"video_folders": [str(tmp_path / "empty"), str(moved.parent)]})
    storage.write_bytes(f"{tmp_path}/several/_runs/{RUN_ID}/config.json", folders.encode())
    shutil.copytree(tmp_path / "run", tmp_path / "several", dirs_exist_ok=True)
    assert open_run(str(tmp_path / "several")).clip("odd").video == str(moved / "odd.mkv")
    clip = open_run(output, videos=str(example.folder)).clip("odd")
    assert clip.video == str(example.videos["odd"]) and clip.overlay(0).shape == (75, 101, 3)
    with pytest.raises(RenderError, match="clip odd: its video does not decode"):
        open_run(output, videos=str(tmp_path)).clip("odd").overlay(0)


def test_a_run_that_has_committed_nothing_is_empty(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "_runs" / "x" / "config.json"), b"{}")
    run = open_run(str(tmp_path))
    assert run.masks().arrow().num_rows == run.clips().count() == 0
    assert run.masks().polars().collect().columns[0] == "clip_id"


def test_importing_it_is_cheap() -> None:
    program = (
        "import sys\nfrom pipeline import open_run\n"
        "heavy = {'torch', 'ray', 'av', 'cv2', 'polars', 'duckdb'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
