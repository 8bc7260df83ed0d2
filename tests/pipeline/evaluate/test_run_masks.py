"""What is said of masks that are missing, of objects that the truth has not, and of tables that are not in order."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.evaluate.run_masks import JudgedClip, named_rows, read_clip
from pipeline.evaluate.truth import open_truth
from pipeline.evaluate.vos import judge_vos
from pipeline.evaluate.vos_tables import warn_missing
from pipeline.output.schema import CLIPS, clips_table
from pipeline.reading import Run, open_run
from tests.pipeline.evaluate.made_masks import rle, square, write_output, write_truth
from tests.pipeline.output_rows import clip

PART = "part-s1-0123456789ab.parquet"
DOG = {frame: {"1": square(20)} for frame in range(4)}
PAIR = {frame: {"1": square(20), "2": square(60)} for frame in range(4)}


def sentences(folder: Path) -> list[str]:
    return warn_missing(list(judge_vos(open_run(str(folder / "out")), open_truth(str(folder / "truth")))))


def rewrite_clips(folder: Path, *rows: dict) -> None:
    pq.write_table(clips_table(rows, CLIPS), folder / "out" / "clips" / "part-s1-0001.parquet")


def test_objects_that_the_truth_has_not_are_named_and_claim_no_pixel(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", {"pair": PAIR})
    # Object 0 would take every pixel of object 1, by its higher score.
    found = {frame: {"0": square(20), "1": square(20)} for frame in range(4)}
    write_output(tmp_path / "out", {"pair": found}, {"0": 0.9})
    rows = list(judge_vos(open_run(str(tmp_path / "out")), open_truth(str(tmp_path / "truth"))))
    assert rows[0].j.tolist() == [1.0, 1.0]
    assert warn_missing(rows) == [
        "sequence pair: the run has object 0, which the truth has not; the truth's are 1, 2",
        "sequence pair, object 2: no row for 2 of 2 judged frames (1, 2); they count 0",
    ]


def test_why_rows_are_missing_is_said(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", dict.fromkeys(("absent", "cut", "failed", "strided"), DOG))
    strided = {frame: DOG[frame] for frame in (0, 2)}
    write_output(tmp_path / "out", {"cut": {0: DOG[0]}, "strided": strided})
    rewrite_clips(
        tmp_path,
        clip("cut", "partial", masks_part=PART, run_id="one"),
        clip("failed", "failed", error_stage="open", error_message="v.mp4 is empty: 0 bytes", run_id="one"),
        clip("strided", masks_part=PART, run_id="two"),
    )
    for run_id, stride in (("one", 1), ("two", 2)):
        config = tmp_path / "out" / "_runs" / run_id / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"options": {"stride": stride}}))
    both = "no row for 2 of 2 judged frames (1, 2); they count 0"
    assert sentences(tmp_path) == [
        f"sequence absent, object 1: {both}: the run has no such clip",
        f"sequence cut, object 1: {both}: the clip is partial (decode: broken at frame 7)",
        f"sequence failed, object 1: {both}: the clip failed (open: v.mp4 is empty: 0 bytes)",
        "sequence strided, object 1: no row for 1 of 2 judged frames (1); they count 0: the run has --stride 2",
    ]


def test_only_clips_of_the_truth_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_truth(tmp_path / "truth", {"dog": DOG, "none": DOG})
    write_output(tmp_path / "out", {f"clip{number}": {} for number in range(20)} | {"dog": DOG})
    monkeypatch.delattr(Run, "clip_ids")
    run, truth = open_run(str(tmp_path / "out")), open_truth(str(tmp_path / "truth"))
    rows = named_rows(run, truth)
    assert list(rows) == ["dog"]
    assert sorted(read_clip(run, rows["dog"], ["1"]).frames) == [0, 1, 2, 3]
    assert read_clip(run, rows.get("none"), ["1"]) == JudgedClip({}, (), "the run has no such clip")


def test_sequences_that_are_numbers_are_clips_of_that_name(tmp_path: Path) -> None:
    rows = [
        {"sequence": number, "frame_index": frame, "object_id": 1, "mask": rle(square(20))}
        for number in (7, 8)
        for frame in range(4)
    ]
    (tmp_path / "truth").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "truth" / "masks.parquet")
    write_output(tmp_path / "out", {"7": DOG, "wolf": DOG})
    truth = open_truth(str(tmp_path / "truth"))
    judged = {row.sequence: row for row in judge_vos(open_run(str(tmp_path / "out")), truth)}
    assert judged["7"].j.tolist() == [1.0, 1.0]
    assert judged["8"].missing == (1, 2)
    write_output(tmp_path / "other", {"wolf": DOG})
    with pytest.raises(UsageError, match="its clips are called wolf, the sequences 7, 8"):
        list(judge_vos(open_run(str(tmp_path / "other")), truth))


def test_a_row_without_a_sequence_is_named(tmp_path: Path) -> None:
    row = {"sequence": None, "frame_index": 0, "object_id": "1", "mask": rle(square(20))}
    pq.write_table(pa.Table.from_pylist([row, {**row, "sequence": "dog"}]), tmp_path / "masks.parquet")
    with pytest.raises(UsageError, match="a row has no sequence"):
        open_truth(str(tmp_path))


def test_other_files_in_a_truths_folder_are_passed_over(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        write_truth(tmp_path / name, {name: DOG})
        (tmp_path / "truth" / "masks").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "masks.parquet").rename(tmp_path / "truth" / "masks" / f"{name}.parquet")
    (tmp_path / "truth" / "masks" / "README.md").write_text("Masks of two animals.")
    (tmp_path / "truth" / "masks" / "._dog.parquet").write_text("what macOS leaves")
    truth = open_truth(str(tmp_path / "truth"))
    assert list(truth.objects) == ["cat", "dog"]
    assert list(truth.frames("dog")) == [0, 1, 2, 3]
    (tmp_path / "empty" / "masks").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"holds neither masks\.parquet nor a folder masks"):
        open_truth(str(tmp_path / "empty"))
