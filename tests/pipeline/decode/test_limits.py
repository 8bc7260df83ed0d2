"""What one clip may cost: each limit has a name, ends the clip alone, and acts before the damage is done."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import NullOutput
from model.tracker.rivals import ALONE, Others
from pipeline.actor.clip_run import ClipSettings
from pipeline.actor.shard import ShardRun
from pipeline.clip import Clip, ObjectStart
from pipeline.decode import DecodeLimits, DecodeSettings, Failed
from pipeline.errors import UsageError
from pipeline.output import lease
from pipeline.output.commit import PartWriter
from pipeline.plan.options import SegmentOptions
from pipeline.progress.tally import Tally
from tests.conftest import ROOT
from tests.pipeline.videos import make_video, read_clip


def test_limits_have_names(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", 20)
    for limits, kind, stage in [
        (DecodeLimits(max_frame_pixels=128 * 96 - 1), "FrameTooLarge", "open"),
        (DecodeLimits(max_file_bytes=100), "FileTooLarge", "fetch"),
        (DecodeLimits(max_clip_seconds=0.0), "Timeout", "decode"),
    ]:
        read = read_clip(path, DecodeSettings(in_process=True, limits=limits))
        assert isinstance(read.end, Failed)
        assert (read.end.stage, read.end.error_type) == (stage, kind)
        assert "v.mp4" in read.end.message and "limit" in read.end.message


def test_options_become_limits() -> None:
    options = SegmentOptions("m", "o", max_frame_pixels=5, max_video_bytes=6, max_clip_seconds=7.5)
    assert options.limits == DecodeLimits(max_frame_pixels=5, max_file_bytes=6, max_clip_seconds=7.5)
    assert SegmentOptions("m", "o").limits == DecodeLimits()
    for name in ("max_frame_pixels", "max_video_bytes", "max_clip_seconds"):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} 0"):
            SegmentOptions("m", "o", **{name: 0})


@pytest.mark.parametrize(("side", "kind"), [(16000, "FrameTooLarge"), (16384, "InvalidData")])
def test_a_huge_frame_is_refused(tmp_path: Path, side: int, kind: str) -> None:
    """By our limit, and beyond what FFmpeg itself can hold by FFmpeg; before anything is decoded."""
    path = tmp_path / "huge.y4m"
    header = f"YUV4MPEG2 W{side} H{side} F25:1 C420jpeg\nFRAME\n".encode()
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + side * side * 3 // 2)
    read = read_clip(path)
    assert isinstance(read.end, Failed)
    assert (read.end.stage, read.end.error_type) == ("open", kind)
    assert "huge.y4m" in read.end.message


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov"])
def test_frames_larger_than_the_container_says(tmp_path: Path, suffix: str, decoder: str) -> None:
    """A header of 128x96, pictures of 16,384x16,384: nothing of that size is ever allocated or handed out."""
    path = make_video(tmp_path / f"v{suffix}", 5, codec="mjpeg", pix_fmt="yuvj420p")
    small, large = (96).to_bytes(2, "big") + (128).to_bytes(2, "big"), (16384).to_bytes(2, "big") * 2
    data = path.read_bytes()
    assert data.count(small) >= 5
    path.write_bytes(data.replace(small, large))
    read = read_clip(path, decoder=decoder)
    assert isinstance(read.end, Failed) and not read.frames
    assert (read.end.stage, read.end.error_type) == ("decode", "InvalidData")


_OPEN = """
import sys
from pathlib import Path
from model.video import VideoError, index_video

def peak():  # not ru_maxrss: a process inherits that from the one that started it
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

before = peak()
try:
    index_video(sys.argv[1], max_pixels=int(sys.argv[2]))
except VideoError as error:
    print(error.error_type, (peak() - before) // 1024)
"""


def test_a_large_frame_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = make_video(tmp_path / "large.mp4", 1, width=6000, height=6000, still=True)
    command = [sys.executable, "-c", _OPEN, str(path), str(6000 * 6000 - 1)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    kind, grown = done.stdout.split()
    assert kind == "FrameTooLarge"
    assert int(grown) < 40, f"opening it took {grown} MiB: a frame has 51"


class SlowEngine:
    """Takes 20 ms a frame."""

    def init(self, frame: Any, box: Any) -> Future[Any]:
        return self._later((SimpleNamespace(), self._output()))

    def step(self, track: Any, frame: Any, others: Others = ALONE, *, again: bool = False) -> Future[Any]:
        return self._later(self._output())

    def _later(self, answer: Any) -> Future[Any]:
        future: Future[Any] = Future()
        threading.Timer(0.02, future.set_result, [answer]).start()
        return future

    def _output(self) -> Any:
        return NullOutput(0.5, np.array([10.0, 5.0, 20.0, 8.0]))


def _shard_run(output: str, scratch: Path, clips: list[Clip], max_clip_seconds: float) -> ShardRun:
    settings = ClipSettings(1, "pyav", 0.1, max_clip_seconds, "mbr", "m", "fp32")
    writer = PartWriter(output, "s", run_id="run-1", config_hash="c", scratch=scratch)
    decode = DecodeSettings(in_process=True)
    stop = threading.Event()
    return ShardRun(clips, settings, decode, SlowEngine(), writer, Tally(), 1, 300.0, stop)


def test_a_clip_that_takes_too_long_to_track_keeps_its_whole_frames(tmp_path: Path) -> None:
    long, short = make_video(tmp_path / "long.mp4", 200), make_video(tmp_path / "short.mp4", 5)
    objects = tuple(ObjectStart(name, box=(10.0, 5.0, 20.0, 8.0)) for name in "ab")
    clips = [Clip(path.stem, path.name, str(path), objects=objects) for path in (long, short)]
    output = str(tmp_path / "out")
    with lease.acquire(output, "run-1", 0):
        assert _shard_run(output, tmp_path, clips, 1.5).run() == 2
    rows = {row["clip_id"]: row for row in pq.read_table(f"{output}/clips").to_pylist()}
    assert rows["short"]["status"] == "ok"
    row = rows["long"]
    assert (row["status"], row["error_stage"], row["error_type"]) == ("partial", "track", "Timeout")
    assert "long.mp4" in row["error_message"] and "--max-clip-seconds 1.5" in row["error_message"]
    masks = [one for one in pq.read_table(f"{output}/masks").to_pylist() if one["clip_id"] == "long"]
    frames = {name: [one["frame_index"] for one in masks if one["object_id"] == name] for name in "ab"}
    assert frames["a"] == frames["b"] == list(range(len(frames["a"]))) and 0 < len(frames["a"]) <= 75, "of 20 ms"


def test_a_clip_without_time_for_a_row_has_failed(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 20)
    clip = Clip("c", "v.mp4", str(video), objects=(ObjectStart("a", box=(1.0, 1.0, 9.0, 9.0)),))
    output = str(tmp_path / "out")
    with lease.acquire(output, "run-1", 0):
        assert _shard_run(output, tmp_path, [clip], 1e-9).run() == 1
    (row,) = pq.read_table(f"{output}/clips").to_pylist()
    assert (row["status"], row["error_stage"], row["error_type"]) == ("failed", "track", "Timeout")
    assert row["masks_part"] is None and not (tmp_path / "out" / "masks").exists()
