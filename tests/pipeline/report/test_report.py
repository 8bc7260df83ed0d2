"""The report of an output: its figures, its page, and both made again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.report import RunFacts, collect, page
from pipeline.report.__main__ import remake
from pipeline.report.page import render_page
from pipeline.report.sample import Sample
from pipeline.report.sheet import show_clip
from tests.pipeline.report.written import CONFIG, RUN, Output, ended, tracked

ROOT = Path(__file__).resolve().parents[3]


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
    assert unknown == rates | {"wall_s", "actors", "busy_s", "commits", "lost_devices"}


def test_a_masks_part_that_is_gone_is_a_warning(output: Output) -> None:
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    next((output.folder / "masks").iterdir()).unlink()
    figures = collect(output.uri, RunFacts("run-2"))
    assert (figures.clips["ok"], figures.track_frames) == (1, 0)
    assert figures.warnings == ["1 masks parts could not be read; their rows are not counted"]


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
    first["run"]["wall_s"], first["exit_status"], first["replaced"] = 12.5, 3, 2
    (folder / "report.json").write_text(json.dumps(first))
    output.add("s2", [ended("b", run_id="run-3")], {"b": tracked("x", range(10))})
    remake(output.uri, "run-2", 0, None)
    again = json.loads((folder / "report.json").read_text())
    assert (again["run"], again["exit_status"], again["replaced"]) == (first["run"], 3, 2)
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
