"""The clips of a shard in turn, with a stream of events and a clock that the test winds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import NullEngine
from pipeline.actor import clip_row, clip_run, shard
from pipeline.actor.clip_run import ClipSettings
from pipeline.clip import Clip, ObjectStart
from pipeline.decode import Chunk, DecodeSettings, Event, Finished, Opened
from pipeline.decode.events import VideoInfo
from pipeline.output import lease
from pipeline.output.commit import PartWriter
from pipeline.progress.tally import Tally

INFO = VideoInfo(64, 48, 0, False, 25.0, "exact", 30, "h264", "pyav")
LIMIT_S = 60.0


def _clip(clip_id: str, x: float) -> Clip:
    return Clip(clip_id, "v.mp4", "/v.mp4", objects=(ObjectStart("0", box=(x, 20.0, 16.0, 16.0)),))


def test_a_clip_waits_for_its_frames_no_longer_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    calendar = SimpleNamespace(now=lambda _: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now))

    def stream(requests: list[Any], *_: Any, **__: Any) -> Iterator[Event]:
        """A worker takes longer to start than a clip may; then each event takes four seconds."""
        nonlocal now
        began, now = now, now + 2 * LIMIT_S
        frames = np.arange(2)
        for number in range(len(requests)):
            chunk = Chunk(number, np.zeros((2, 48, 64, 3), np.uint8), frames, frames / 25, 0)
            for event in (Opened(number, INFO, 0, 2), chunk):
                now += 4
                yield event
            now += 4
            yield Finished(number, 2, 0, "pyav", decode_wait_s=now - began)
            began = now

    monkeypatch.setattr(shard, "stream", stream)
    monkeypatch.setattr(clip_run, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(clip_run, "datetime", calendar)
    monkeypatch.setattr(clip_row, "datetime", calendar)
    clips = [_clip("first", 40.0), _clip("outside", 100.0), _clip("third", 40.0), _clip("fourth", 40.0)]
    settings = ClipSettings(1, "pyav", 0.1, LIMIT_S, "mbr", "m", "fp32")
    output = str(tmp_path / "out")
    with (
        lease.acquire(output, "run-1", 0),
        PartWriter(output, "s1", run_id="run-1", config_hash="x", scratch=tmp_path) as writer,
    ):
        run = shard.ShardRun(
            clips, settings, DecodeSettings(in_process=True), NullEngine(), writer, Tally(), 1, 60.0, threading.Event()
        )
        assert run.run() == 4
    rows = {row["clip_id"]: row for row in pq.read_table(f"{output}/clips").to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "first": "ok", "outside": "failed", "third": "ok", "fourth": "ok"
    }  # fmt: skip
    took = {name: (row["finished_at"] - row["started_at"]).total_seconds() for name, row in rows.items()}
    waited = {name: row["decode_wait_s"] for name, row in rows.items()}
    assert took == waited == {"first": 132.0, "outside": 4.0, "third": 132.0, "fourth": 12.0}
