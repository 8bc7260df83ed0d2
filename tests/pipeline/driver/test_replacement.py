"""`--replace-changed`: only clips that changed are run again, a run that is cut off goes on, the report counts them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.driver import ending
from pipeline.driver.run import SegmentRun
from pipeline.errors import UsageError
from pipeline.manifest import ABSENT, ClipHashes, digest, read_manifest
from pipeline.output.commit import PartWriter
from pipeline.output.index import OutputIndex
from pipeline.output.replacing import staging_uri
from pipeline.output.schema import CLIPS
from pipeline.plan.model import RunModel
from pipeline.plan.options import ActorCount, SegmentOptions
from pipeline.plan.placement import Placement
from pipeline.plan.prepare import Prepared
from pipeline.progress.counts import Counts
from tests.pipeline.output.output_parts import check_promise
from tests.pipeline.output_rows import clip, track


class Actors:
    """In place of the cluster: commits the clips that are to do, each with as many rows as its box is wide."""

    def __init__(self, prepared: Prepared, scratch: Path, most: int = 99) -> None:
        self._prepared, self._scratch, self._most = prepared, scratch, most
        self.ran: list[str] = []

    def absent(self, done: ClipHashes, *_: object) -> Counts:
        return self._run(self._prepared.output, done)

    def changed(self, staged: OutputIndex, done: ClipHashes, *_: object) -> Counts:
        return self._run(staged.output, done)

    def _run(self, output: str, done: ClipHashes) -> Counts:
        prepared = self._prepared
        for item in prepared.manifest.clips():
            known = done.compare(digest(item.clip_id, item.clip_hash))[0] != ABSENT
            if known or len(self.ran) == self._most:
                continue
            self.ran.append(item.clip_id)
            writer = PartWriter(
                output,
                f"s{item.clip_id}",
                run_id=prepared.run_id,
                config_hash=prepared.config_hash,
                scratch=self._scratch,
                leased=prepared.output,
            )
            writer.add_rows(item.clip_id, track("0", int(item.objects[0].box[2])))
            writer.finish_clip(clip(item.clip_id, clip_hash=item.clip_hash), keep_rows=True)
            writer.commit()
        if len(self.ran) == self._most:
            raise RuntimeError("cut off")
        return Counts()


def prepared(tmp_path: Path, widths: dict[str, int], run_id: str, **options: Any) -> Prepared:
    path = tmp_path / f"{run_id}.jsonl"
    lines = [
        {"clip_id": name, "video_uri": "v.mp4", "objects": [{"box": [1, 1, width, 5]}]}
        for name, width in widths.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Prepared(
        options=SegmentOptions(manifest=str(path), output=str(tmp_path / "out"), report_clips=0, **options),
        output=str(tmp_path / "out"),
        run_id=run_id,
        model=RunModel("m", "d" * 64, "siammask-batch", {}, "{}", {}, b""),
        config_hash="ours",
        manifest=read_manifest(str(path), reserved=CLIPS.names, in_process=True),
        placement=Placement("cpu", ActorCount(1, 1), 1, 0, 2, 1, 0, 1, 8, False, False, 1 << 20, {}),
        owns_ray=False,
        started_at=datetime.now(UTC),
    )


def run(ready: Prepared, tmp_path: Path, most: int = 99) -> tuple[int, list[str]]:
    actors = Actors(ready, tmp_path, most)
    return SegmentRun(ready, segment=actors.absent, replace=actors.changed).run(), actors.ran


def rows(tmp_path: Path) -> dict[str, int]:
    opened = open_run(str(tmp_path / "out"))
    return {clip_id: opened.masks(clip_id=clip_id).count() for clip_id in sorted(opened.clip_ids)}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "FENCE_PAUSES_S", (0.0,))


def test_what_changed_is_run_again_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = {"a": 2, "b": 3, "c": 4}, {"a": 2, "b": 6, "c": 4, "d": 5}
    assert run(prepared(tmp_path, old, "run-1"), tmp_path) == (0, ["a", "b", "c"])
    with pytest.raises(UsageError, match="--replace-changed"):
        run(prepared(tmp_path, new, "run-2"), tmp_path)
    assert rows(tmp_path) == old
    before = open_run(str(tmp_path / "out")).masks(clip_id=["a", "c"]).arrow()
    assert run(prepared(tmp_path, new, "run-3", replace_changed=True), tmp_path) == (0, ["d", "b"])
    assert rows(tmp_path) == new
    assert open_run(str(tmp_path / "out")).masks(clip_id=["a", "c"]).arrow().equals(before)
    said = capsys.readouterr()
    assert "1 clips changed since they were finished" in said.err and "1 replaced" in said.out
    assert json.loads((tmp_path / "out" / "_runs" / "run-3" / "report.json").read_text())["replaced"] == 1
    assert check_promise(str(tmp_path / "out")) == dict.fromkeys("abcd", "ok")
    assert run(prepared(tmp_path, new, "run-4", replace_changed=True), tmp_path) == (0, [])


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    old, new = {"a": 2, "b": 3, "c": 4}, {"a": 5, "b": 6, "c": 7}
    run(prepared(tmp_path, old, "run-1"), tmp_path)
    assert run(prepared(tmp_path, new, "run-2", replace_changed=True), tmp_path, most=2) == (1, ["a", "b"])
    assert rows(tmp_path) == old
    assert run(prepared(tmp_path, new, "run-3", replace_changed=True), tmp_path) == (0, ["c"])
    assert rows(tmp_path) == new
    assert not list((tmp_path / "out" / "_runs" / "replacing").rglob("*.parquet"))


def test_what_waits_for_another_manifest_is_run_anew(tmp_path: Path) -> None:
    run(prepared(tmp_path, {"a": 2, "b": 3}, "run-1"), tmp_path)
    run(prepared(tmp_path, {"a": 5, "b": 6}, "run-2", replace_changed=True), tmp_path, most=1)
    assert OutputIndex(staging_uri(str(tmp_path / "out"))).refresh()
    assert run(prepared(tmp_path, {"a": 7, "b": 6}, "run-3", replace_changed=True), tmp_path) == (0, ["a", "b"])
    assert rows(tmp_path) == {"a": 7, "b": 6}
