"""Clips with objects tracked backward and both ways, from the decoder to the tables."""

from __future__ import annotations

import itertools
import json
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import NullEngine, NullOutput
from model.engine import Engine
from model.track.one_video import BUNDLED_WEIGHTS
from model.tracker import params_from_json
from model.tracker.presence import presence_of
from model.video import frames as reading
from model.weights import load_weights
from pipeline.actor.clip_run import ClipRun, ClipSettings
from pipeline.actor.shard import ShardRun
from pipeline.clip import Clip, ObjectStart
from pipeline.decode import Chunk, DecodeSettings, Event, Failed, Finished, Opened
from pipeline.decode.events import VideoInfo
from pipeline.decode.pyav import PyAVDecoder
from pipeline.output import lease
from pipeline.output.commit import PartWriter
from pipeline.progress.tally import Tally
from tests.pipeline.videos import make_video

FRAMES, MIDDLE = 20, 8
BOX = (40.0, 24.0, 16.0, 16.0)
SETTINGS = ClipSettings(1, "pyav", 0.1, 60.0, "mbr", "m", "fp32")
INFO = VideoInfo(64, 48, 0, False, 25.0, "exact", 30, "h264", "pyav")


class CountingEngine(NullEngine):
    """An answer's score is one less a thousandth for each step since the track's start; so is its presence."""

    def init(self, frame: np.ndarray, box: np.ndarray) -> Future[Any]:
        return self._answer(([box, 0], NullOutput(1.0, np.asarray(box))))

    def step(self, track: Any, frame: np.ndarray, *_: Any, again: bool = False) -> Future[Any]:
        track[1] += 1
        sure = 1 - track[1] / 1000
        return self._answer(NullOutput(sure, np.asarray(track[0]), sure))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[PartWriter]:
    output = str(tmp_path / "out")
    with (
        lease.acquire(output, "run-1", 0),
        PartWriter(output, "s1", run_id="run-1", config_hash="x", scratch=tmp_path) as writer,
    ):
        yield writer


def _tables(writer: PartWriter) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of `masks`, and those of `clips` by id."""
    writer.commit()
    masks = Path(writer._output) / "masks"
    rows = [row for part in sorted(masks.glob("*")) for row in pq.read_table(part).to_pylist()]
    return rows, {row["clip_id"]: row for row in pq.read_table(f"{writer._output}/clips").to_pylist()}


def _run(writer: PartWriter, clips: list[Clip], engine: Any, settings: ClipSettings = SETTINGS, **decode: Any) -> None:
    ShardRun(
        clips, settings, DecodeSettings(in_process=True, **decode), engine, writer, Tally(), 1, 60.0, threading.Event()
    ).run()


def _clip(clip_id: str, path: Path, *starts: tuple[str, int, str], **more: Any) -> Clip:
    objects = tuple(ObjectStart(name, init, box=BOX, direction=way) for name, init, way in starts)  # type: ignore[arg-type]
    return Clip(clip_id, path.name, str(path), objects=objects, **more)


def test_both_is_a_forward_run_and_a_run_over_the_reversed_video(tmp_path: Path, writer: PartWriter) -> None:
    video = make_video(tmp_path / "v.mp4", FRAMES, lossless=True)
    mirror = make_video(tmp_path / "reversed.mp4", FRAMES, lossless=True, backward=True)
    loaded = load_weights(BUNDLED_WEIGHTS)
    params = params_from_json(json.dumps(loaded.metadata["tracker"]))
    clips = [
        _clip("both", video, ("0", MIDDLE, "both")),
        _clip("forward", video, ("0", MIDDLE, "forward")),
        _clip("reversed", mirror, ("0", FRAMES - 1 - MIDDLE, "forward")),
        _clip("backward", video, ("0", MIDDLE, "backward")),
    ]
    settings = ClipSettings(1, "pyav", 0.1, 600.0, "mbr", "m", "fp32", params)
    with Engine(loaded.model, params, presence=presence_of(loaded.metadata)) as engine:
        _run(writer, clips, engine, settings)
    rows, ended = _tables(writer)
    assert all(row["status"] == "ok" and row["frames"] == FRAMES for row in ended.values())
    compared = ("frame_index", "mask", "bbox", "score", "presence", "state", "area", "corners")
    made = {clip.clip_id: [{n: r[n] for n in compared} for r in rows if r["clip_id"] == clip.clip_id] for clip in clips}
    mirrored = [{**row, "frame_index": FRAMES - 1 - row["frame_index"]} for row in reversed(made["reversed"])]
    assert len(mirrored) == MIDDLE + 1 and len(made["both"]) == FRAMES
    assert made["both"] == mirrored[:-1] + made["forward"]
    assert made["backward"] == mirrored
    (track,) = ended["both"]["tracks"]
    assert (track["first_frame"], track["last_frame"], track["frames"]) == (0, FRAMES - 1, FRAMES)


@pytest.mark.parametrize("stride", [1, 3])
def test_every_object_and_frame_has_one_row_from_the_nearer_start(
    tmp_path: Path, writer: PartWriter, stride: int
) -> None:
    video = make_video(tmp_path / "v.mp4", 40, width=64, height=48)
    starts = [("a", 8, "both"), ("a", 26, "both"), ("b", 23, "backward"), ("c", 11, "forward"), ("d", 2, "both")]
    settings = ClipSettings(stride, "pyav", 0.1, 60.0, "mbr", "m", "fp32")
    _run(writer, [_clip("c", video, *starts, start_frame=2, end_frame=35)], CountingEngine(), settings)
    rows, ended = _tables(writer)
    assert ended["c"]["status"] == "ok" and ended["c"]["frames"] == len(range(2, 35, stride))
    steps = {(row["object_id"], row["frame_index"]): round(1000 * (1 - row["score"])) for row in rows}
    assert list(steps) == sorted(steps) and len(steps) == len(rows)
    grid = range(2, 35, stride)
    expected = {("a", frame): min(abs(frame - 8), abs(frame - 26)) // stride for frame in grid}
    expected |= {("b", frame): (23 - frame) // stride for frame in grid if frame <= 23}
    expected |= {("c", frame): (frame - 11) // stride for frame in grid if frame >= 11}
    expected |= {("d", frame): (frame - 2) // stride for frame in grid}
    assert steps == expected
    tracks = {track["object_id"]: track for track in ended["c"]["tracks"]}
    assert {name: track["frames"] for name, track in tracks.items()} == {
        name: sum(key[0] == name for key in expected) for name in "abcd"
    }


def _chunk(indexes: range) -> Chunk:
    places = np.array(indexes)
    return Chunk(0, np.zeros((len(places), 48, 64, 3), np.uint8), places, places / 25, 0, backward=indexes.step < 0)


OPENED = Opened(0, INFO, 0, 12)
BACKWARD, FORWARD = [_chunk(range(6, 3, -1)), _chunk(range(3, -1, -1))], [_chunk(range(7)), _chunk(range(7, 12))]
TRUNCATED = Failed(0, "decode", "Truncated", "it ends early", 7, 0, True)


@pytest.mark.parametrize(
    ("events", "status", "last"),
    [
        ([OPENED, *BACKWARD, *FORWARD, Finished(0, 12, 0, "pyav")], "ok", 11),
        ([OPENED, BACKWARD[0], OPENED, *BACKWARD, *FORWARD, Finished(0, 12, 0, "pyav")], "ok", 11),
        ([OPENED, *BACKWARD, FORWARD[0], OPENED, *BACKWARD, *FORWARD, Finished(0, 12, 0, "pyav")], "ok", 11),
        ([OPENED, *BACKWARD, FORWARD[0], TRUNCATED], "partial", 6),
        ([OPENED, BACKWARD[0], TRUNCATED], "failed", None),
        ([OPENED, *BACKWARD, Finished(0, 0, 12, "pyav")], "ok", None),
        ([OPENED, BACKWARD[1]], "InitFrameNotDecoded", None),
        ([OPENED, FORWARD[0]], "InitFrameNotDecoded", None),
        ([OPENED, Finished(0, 0, 12, "pyav")], "InitFrameNotDecoded", None),
    ],
)
def test_clips_that_start_over_and_end_early(
    writer: PartWriter, events: list[Event], status: str, last: int | None
) -> None:
    tally = Tally()
    run = ClipRun(_clip("c", Path("v.mp4"), ("a", 6, "backward")), SETTINGS, CountingEngine(), writer, tally)
    assert [run.take(event) for event in events][-1]
    taken = events[len(events) - 1 - events[::-1].index(OPENED) :]
    _, counts = tally.drain()
    if status == "ok":
        assert counts.frames == sum(len(event.frame_index) for event in taken if isinstance(event, Chunk))
    rows, ended = _tables(writer)
    assert status in (ended["c"]["status"], ended["c"]["error_type"])
    assert [row["frame_index"] for row in rows] == list(range(0 if last is None else 7))
    if status in ("ok", "partial"):
        assert ended["c"]["frames"] == (0 if last is None else last + 1)


def test_time_that_is_up_in_the_backward_pass_fails_the_clip(
    writer: PartWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=30.0)
    monkeypatch.setattr("pipeline.actor.clip_run.time", SimpleNamespace(monotonic=lambda: next(clock)))
    run = ClipRun(_clip("c", Path("v.mp4"), ("a", 6, "both")), SETTINGS, CountingEngine(), writer, Tally())
    assert [run.take(event) for event in (OPENED, BACKWARD[0])][-1] == "early"
    rows, ended = _tables(writer)
    assert (ended["c"]["status"], ended["c"]["error_type"], rows) == ("failed", "Timeout", [])


def test_few_frames_of_many_are_held(tmp_path: Path, writer: PartWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "v.mp4", 3000, width=64, height=48, group=30, still=True)
    alive = most = 0

    def gone(frames: int) -> None:
        nonlocal alive
        alive -= frames

    chunks = PyAVDecoder.chunks

    def counted(*args: Any) -> Any:
        nonlocal alive, most
        for block in chunks(*args):
            if block is not None:
                alive += len(block.frame_index)
                most = max(most, alive)
                weakref.finalize(block.frames, gone, len(block.frame_index))
            yield block
            del block

    monkeypatch.setattr(PyAVDecoder, "chunks", counted)
    _run(writer, [_clip("c", video, ("a", 2500, "both"))], CountingEngine(), chunk_bytes=5 * 64 * 48 * 3)
    rows, _ = _tables(writer)
    assert [row["frame_index"] for row in rows] == list(range(3000))
    assert most <= 2 * reading.PIECE_FRAMES
