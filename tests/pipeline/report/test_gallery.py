"""The gallery is drawn by Ray tasks: one that dies or hangs takes its clip from the gallery, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.plan.options import SegmentOptions
from pipeline.report import RunFacts, collect, gallery, make, write_report
from pipeline.report.sample import Sample
from pipeline.report.sheet import ShownClip
from tests.conftest import S3Store
from tests.pipeline.report.test_report import CONFIG, RUN, Output, ended, tracked
from tests.pipeline.videos import make_video


def sample(*names: str) -> Sample:
    return Sample(tuple(ended(name) for name in names), len(names))


def test_a_decoder_that_crashes_costs_one_clip(ray_local: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(output: str, clip: dict[str, Any], folders: list[str]) -> ShownClip:
        if clip["clip_id"] == "poison":
            os._exit(11)
        return ShownClip(clip, notes=["drawn"])

    monkeypatch.setattr(gallery, "show_clip", show)
    shown = gallery.draw_gallery("out", sample("a", "poison", "z"), [])
    assert [one.clip["clip_id"] for one in shown] == ["a", "poison", "z"]
    assert [one.notes == ["drawn"] for one in shown] == [True, False, True]
    assert "the process that drew it ended" in shown[1].notes[0]


def test_a_gallery_that_takes_too_long_ends_in_time(ray_local: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(output: str, clip: dict[str, Any], folders: list[str]) -> ShownClip:
        time.sleep(300 if clip["clip_id"].startswith("hangs") else 1)
        return ShownClip(clip)

    monkeypatch.setattr(gallery, "show_clip", show)
    gallery.draw_gallery("out", sample("a", "b"), [])  # workers take their time to start
    began = time.monotonic()
    shown = gallery.draw_gallery("out", sample("hangs-1", "quick", "hangs-2", "hangs-3"), [], within_s=10.0)
    assert time.monotonic() - began < 15
    notes = {one.clip["clip_id"]: one.notes for one in shown}
    assert notes.pop("quick") == []
    assert all("the 10 s for the gallery were over" in said[0] for said in notes.values()) and len(notes) == 3


def test_an_interrupt_leaves_no_task_behind(ray_local: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ray

    def show(output: str, clip: dict[str, Any], folders: list[str]) -> ShownClip:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(300)
        return ShownClip(clip)

    def interrupt(*_: object, **__: object) -> None:
        while not list(tmp_path.iterdir()):
            time.sleep(0.05)
        raise KeyboardInterrupt("SIGTERM")

    monkeypatch.setattr(gallery, "show_clip", show)
    monkeypatch.setattr(ray, "wait", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        gallery.draw_gallery("out", sample("a"), [])
    deadline = time.monotonic() + 10
    (worker,) = (int(path.name) for path in tmp_path.iterdir())
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()
    assert time.monotonic() - began < 20


def test_the_report_of_an_output_has_its_clips_drawn(ray_local: None, tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    make_video(output.folder / "videos" / "a.mp4", 10, width=64, height=48)
    output.add("s1", [ended("a"), ended("b")], {"a": tracked("x", range(10)), "b": tracked("x", range(10))})
    figures = collect(output.uri, RunFacts("run-2"), 5)
    where = write_report(output.uri, figures, run=RUN, config={**CONFIG, "video_folders": [output.uri]})
    html = Path(where).read_text()
    assert html.count('<img src="data:image/jpeg') == 4 and html.count("<svg ") == 2
    assert "b.mp4: No such file" in html
    assert html.index('id="clip-1">a<') < html.index('id="clip-2">b<')


def test_tables_and_videos_in_object_storage_are_shown(ray_local: None, s3_store: S3Store, tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    make_video(output.folder / "videos" / "a.mp4", 10, width=64, height=48)
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    for path in output.folder.rglob("*.*"):
        storage.upload_file(path, s3_store.uri(f"report/{path.relative_to(output.folder)}"))
    uri = s3_store.uri("report")
    figures = collect(uri, RunFacts("run-2"), 5)
    where = write_report(uri, figures, run=RUN, config={**CONFIG, "video_folders": [uri]})
    html = storage.read_bytes(where).decode()
    assert html.count('<img src="data:image/jpeg') == 4 and html.count("<svg ") == 1
    assert figures.track_frames == 10


def test_no_error_of_the_gallery_keeps_the_report_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no Ray here")

    monkeypatch.setattr(make, "draw_gallery", broken)
    output = Output(tmp_path / "out")
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    where = write_report(output.uri, collect(output.uri, RunFacts("run-2"), 5), run=RUN, config=CONFIG)
    assert "The gallery could not be drawn: no Ray here" in Path(where).read_text()


def test_a_run_is_not_failed_by_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from types import SimpleNamespace

    from pipeline.driver import run_report
    from pipeline.output.index import OutputIndex

    def broken(*_: object, **__: object) -> None:
        raise ValueError("a page that cannot be written")

    placement = SimpleNamespace(actors=SimpleNamespace(maximum=1))
    prepared = SimpleNamespace(
        output=str(tmp_path),
        run_id="run-2",
        options=SegmentOptions("m.jsonl", str(tmp_path)),
        placement=placement,
        started_at=ended("a")["started_at"],
    )
    monkeypatch.setattr(run_report, "write_report", broken)
    monkeypatch.setattr(run_report, "config", lambda _: CONFIG)
    report = run_report.RunReport(prepared)  # type: ignore[arg-type]
    report.write(OutputIndex(str(tmp_path), report.reader), 0)
    assert "the run has no report: a page that cannot be written" in caplog.text
