"""Memory while a slow consumer reads decord's worst case: a long still clip of few bytes and one key frame."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.decode import Chunk, ClipRequest, DecoderName, DecodeSettings, Finished
from pipeline.decode.stream import stream
from tests.pipeline.videos import make_video

MiB = 1 << 20
FRAGMENTS = 64 * MiB
WARM, SHORT, LONG = map(int, os.environ.get("SIAMMASK_MEMORY_FRAMES", "120,500,1500").split(","))
RATE = 60.0
"""Frames a second that the consumer takes: about half of what is decoded on one core."""


@dataclass
class Size:
    """Bytes of a process: resident, and resident without what it shares (the object store, libraries)."""

    resident: int = 0
    own: int = 0


class Peak:
    """The largest sizes of the processes that decode, watched all the time."""

    def __init__(self) -> None:
        self.sizes: dict[str, Size] = defaultdict(Size)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        # The consumer is the process of the tests, which others have filled: what reading adds is what counts.
        before = this.memory_info()
        while not self._end.wait(0.05):
            for process in [this, *this.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    kind = "consumer" if process == this else "worker"
                    if kind != "worker" or "lane_packs" in line:
                        memory, size = process.memory_info(), self.sizes[kind]
                        resident, own = memory.rss, memory.rss - memory.shared
                        if kind == "consumer":
                            resident, own = resident - before.rss, own - (before.rss - before.shared)
                        size.resident, size.own = max(size.resident, resident), max(size.own, own)


def read_slowly(path: Path, asked: DecoderName, used: DecoderName, frames: int) -> dict[str, Size]:
    """Peak sizes while the frames are read, and every pixel looked at, at `RATE`."""
    began, given, total = time.monotonic(), 0, 0
    with Peak() as peak:
        for event in stream([ClipRequest("still", str(path), decoder=asked)], DecodeSettings()):
            if isinstance(event, Chunk):
                given += len(event.frames)
                total += int(event.frames.max())
                time.sleep(max(0.0, began + given / RATE - time.monotonic()))
            if isinstance(event, Finished):
                assert event.frames == frames and event.decoder == used
    assert given == frames and total
    return peak.sizes


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("asked", "group", "used"),
    [("decord", 10**6, "pyav"), ("decord", 60, "decord")],
)
def test_memory_has_a_bound(
    ray_local: None,
    tmp_path: Path,
    asked: DecoderName,
    group: int,
    used: DecoderName,
    say: Callable[[str], None],
) -> None:
    """Below 1.5 GB everywhere, and a process's own memory the same whatever the length.

    What is shared is the object store, which Ray empties once a second: it grows with the rate. The first reading
    counts for nothing: it loads libraries and fills the arenas of the allocator. Their fragments differ by tens of MiB
    from run to run.
    """
    width, height = (1280, 720) if used == "decord" else (1920, 1080)
    sizes: dict[int, dict[str, Size]] = {}
    for frames in (WARM, SHORT, LONG):
        path = make_video(tmp_path / f"{frames}.mp4", frames, width=width, height=height, group=group, still=True)
        sizes[frames] = read_slowly(path, asked, used, frames)
        text = ", ".join(
            f"{kind} {size.resident / MiB:.0f} ({size.own / MiB:.0f} its own)"
            for kind, size in sorted(sizes[frames].items())
        )
        file = path.stat().st_size >> 10
        groups = f"key frame every {group}" if group < frames else "one key frame"
        how = f"{groups}, {asked} asked, {used} used, {RATE:.0f} frames/s"
        say(f"{frames} still frames of {height}p, {file} KiB, {how}, MiB: {text}")
    assert max(size.resident for found in sizes.values() for size in found.values()) < 1.5e9
    # What decord has read ahead varies from run to run within a piece of the video, whatever the video's length; on a
    # busy machine the piece before is still being given back.
    piece = 60 * width * height * 3
    for kind in sizes[LONG].keys() - {"consumer"}:
        if used == "decord":
            assert sizes[LONG][kind].own < 250 * MiB + FRAGMENTS + 2 * piece, kind
        else:
            assert sizes[LONG][kind].own <= 1.1 * sizes[SHORT][kind].own + FRAGMENTS, kind
