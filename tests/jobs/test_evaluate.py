"""`jobs/evaluate.py`: from a run's tables, or local sequences, to Parquet, Markdown and charts, local and in S3."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer.main
from typer.testing import CliRunner

from jobs.evaluate import app
from model.video.writer import VideoWriter
from pipeline import storage
from tests.conftest import ROOT, S3Store
from tests.pipeline.evaluate.made_masks import square, write_output, write_truth
from tests.vot_judge import jumping_square

TRUTH = {"dog": {frame: {"1": square(20)} for frame in range(6)}}
FOUND = {"dog": {frame: {"0": square(20 if frame < 3 else 25)} for frame in range(5)}}


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def tables(folder: str, name: str) -> list[dict]:
    return pq.read_table(io.BytesIO(storage.read_bytes(storage.join(folder, name)))).to_pylist()


def picture(content: bytes) -> np.ndarray:
    made = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert made is not None
    return made


def test_vos_writes_tables_markdown_and_charts(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", TRUTH)
    write_output(tmp_path / "out", FOUND)
    report = tmp_path / "report"
    status, said = invoke("vos", "--output", tmp_path / "out", "--truth", tmp_path / "truth", "--report", report)
    assert status == 0, said
    (row,) = tables(str(report), "vos_objects.parquet")
    assert (row["frames"], row["missing"]) == (4, 0)
    assert row["j_mean"] == pytest.approx((1 + 1 + 0.6 + 0.6) / 4)
    assert len(tables(str(report), "vos_frames.parquet")) == 4
    text = (report / "vos.md").read_text()
    assert text in said
    assert "| **mean** | 0.800 | 1.000 |" in text
    for name in ("vos_j.png", "vos_success.png"):
        assert picture((report / name).read_bytes()).std() > 5


def test_vos_in_object_storage_names_what_is_missing(tmp_path: Path, s3_store: S3Store) -> None:
    write_truth(tmp_path / "truth", TRUTH)
    write_output(tmp_path / "out", {"dog": {frame: masks for frame, masks in FOUND["dog"].items() if frame != 2}})
    for path in sorted(tmp_path.rglob("*.parquet")):
        storage.upload_file(path, s3_store.uri(f"scores/{path.relative_to(tmp_path)}"))
    truth, output, report = (s3_store.uri(f"scores/{name}") for name in ("truth", "out", "report"))
    status, said = invoke("vos", "--output", output, "--truth", truth, "--split", "val", "--report", report)
    assert status == 0, said
    assert "sequence dog, object 1: no row for 1 of 4 judged frames (2); they count 0" in said
    assert tables(report, "vos_objects.parquet")[0]["j_mean"] == pytest.approx((1 + 0 + 0.6 + 0.6) / 4)
    assert picture(storage.read_bytes(storage.join(report, "vos_j.png"))).shape[2] == 3


@pytest.mark.parametrize(("name", "heading"), [("vos", "## Masks"), ("vot", "## Rotated boxes")])
def test_documented_options_are_the_commands(name: str, heading: str) -> None:
    command = typer.main.get_command(app).commands[name]
    actual = {option for parameter in command.params for option in parameter.opts}
    text = (ROOT / "docs" / "evaluation.md").read_text()
    rows = text[text.index(heading) :].split("\n\n")[2].splitlines()[2:]
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row.split("|")[1])} == actual - {"--help"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vos", "--output", "none", "--truth", "truth"), "none holds no run"),
        (("vos", "--output", "out", "--truth", "none"), "holds neither masks.parquet"),
        (("vos", "--output", "out", "--truth", "truth", "--rules", "mine"), "expected one of davis, youtube-vos"),
        (("vot", "--sequences", "none"), "none: no such folder"),
        (("vot", "--sequences", "truth"), "no sequence in it"),
        (("vot", "--sequences", "truth", "--challenge", "9:3"), "or LOW:HIGH in frames"),
        (("vot", "--sequences", "truth", "--rotated-box", "round"), "--rotated-box: no rule 'round'"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    write_truth(tmp_path / "truth", TRUTH)
    write_output(tmp_path / "out", FOUND)
    monkeypatch.chdir(tmp_path)
    status, said = invoke(*arguments)
    assert status == 2
    assert said.startswith("error: ") and message in said, said


def test_vot_scores_a_folder_of_pictures_and_a_video(tmp_path: Path) -> None:
    sequences, report = tmp_path / "sequences", tmp_path / "report"
    jumping_square(sequences)
    lines = (sequences / "jump" / "groundtruth.txt").read_text().splitlines()[:8]
    with VideoWriter(sequences / "film.mp4", 25) as film:
        for path in sorted((sequences / "jump" / "color").iterdir())[:8]:
            film.write(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    (sequences / "film.groundtruth.txt").write_text("\n".join(lines))
    options = ("--challenge", "3:12", "--device", "cpu", "--at-once", "2", "--report", report)
    status, said = invoke("vot", "--sequences", sequences, *options)
    assert status == 0, said
    film_row, jump_row = tables(str(report), "vot_sequences.parquet")
    assert (film_row["sequence"], film_row["frames"]) == ("film", 8)
    assert (jump_row["sequence"], jump_row["frames"]) == ("jump", 22)
    assert jump_row["losses"] >= 2
    frames = tables(str(report), "vot_frames.parquet")
    assert [row["state"] for row in frames[:2]] == ["started", "tracked"]
    assert frames[1]["overlap"] > 0.5
    reference, toolkit = tables(str(report), "vot_rules.parquet")
    assert (reference["rule"], toolkit["rule"]) == ("reference", "vot-toolkit")
    losses = film_row["losses"] + jump_row["losses"]
    assert reference["robustness"] == pytest.approx(100 * losses / 30)
    assert reference["frames"] == 30
    assert "| reference |" in (report / "vot.md").read_text()
    for name in ("vot_overlap.png", "vot_success.png", "vot_eao.png"):
        assert picture((report / name).read_bytes()).std() > 5


def test_truth_that_is_not_rotated_boxes_is_named(tmp_path: Path) -> None:
    jumping_square(tmp_path)
    truth = tmp_path / "jump" / "groundtruth.txt"
    truth.write_text(truth.read_text().replace("\n", "\n1,2,3,4\n", 1))
    status, said = invoke("vot", "--sequences", tmp_path)
    assert status == 2
    assert "groundtruth.txt, line 2: expected the eight numbers" in said


def test_truth_and_frames_of_different_numbers_are_named(tmp_path: Path) -> None:
    jumping_square(tmp_path)
    for path in sorted((tmp_path / "jump" / "color").iterdir())[3:]:
        path.unlink()
    status, said = invoke("vot", "--sequences", tmp_path, "--device", "cpu", "--report", tmp_path / "report")
    assert status == 2
    assert "sequence jump: 3 pictures, but 22 lines of truth in" in said


@pytest.mark.parametrize("command", ["vos", "vot"])
def test_a_report_that_cannot_be_written_is_named_before_anything_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    write_truth(tmp_path / "truth", TRUTH)
    write_output(tmp_path / "out", FOUND)
    jumping_square(tmp_path / "sequences")
    (tmp_path / "file").write_text("")
    for late in ("vos.judge_vos", "engine.open_engine"):
        monkeypatch.setattr(f"pipeline.evaluate.{late}", None)
    of = {
        "vos": ("--output", tmp_path / "out", "--truth", tmp_path / "truth"),
        "vot": ("--sequences", tmp_path / "sequences"),
    }
    status, said = invoke(command, *of[command], "--report", tmp_path / "file" / "report")
    assert status == 2
    assert said.startswith(f"error: cannot write {tmp_path / 'file' / 'report'}"), said


def test_vot2016_is_judged_in_each_rules_own_window(tmp_path: Path) -> None:
    jumping_square(tmp_path / "sequences")
    options = ("--challenge", "vot2016", "--device", "cpu", "--report", tmp_path / "report")
    status, said = invoke("vot", "--sequences", tmp_path / "sequences", *options)
    assert status == 0, said
    windows = [(row["low"], row["high"]) for row in tables(str(tmp_path / "report"), "vot_rules.parquet")]
    assert windows == [(100, 356), (108, 371)]
    text = (tmp_path / "report" / "vot.md").read_text()
    assert "| EAO | low | high |" in text
    assert "| 100 | 356 |" in text and "| 108 | 371 |" in text
