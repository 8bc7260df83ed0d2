"""Memory while a slow consumer reads decord's worst case: a long still clip of few bytes and one key frame."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline.decode import Chunk, ClipRequest, DecoderName, DecodeSettings, Finished
from pipeline.frames import stream
from tests.pipeline.videos import make_video

MiB = 1 << 20
PER_SECOND = 20.0
SECONDS = 30.0


class Peak:
    """The largest resident size of every process below this one, by what it is, measured all the time."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    line = " ".join(process.cmdline())
                    resident = process.memory_info().rss
                except psutil.Error:
                    continue
                kind = next(
                    (name for mark, name in [("decord_child", "decord"), ("ray::", "worker")] if mark in line), None
                )
                if process.pid == psutil.Process().pid:
                    kind = "consumer"
                if kind:
                    self.sizes[kind] = max(self.sizes.get(kind, 0), resident)


def read_slowly(path: Path, asked: DecoderName, used: DecoderName, frames: int) -> dict[str, int]:
    """Peak sizes in bytes while the first frames are read at 20 a second, the next ones as fast as they come."""
    began, given = time.monotonic(), 0
    with Peak() as peak:
        for event in stream([ClipRequest("still", str(path), decoder=asked)], DecodeSettings()):
            if isinstance(event, Chunk):
                given += len(event.frames)
                if time.monotonic() - began < SECONDS:
                    time.sleep(max(0.0, began + given / PER_SECOND - time.monotonic()))
            if isinstance(event, Finished):
                assert event.frames == frames and event.decoder == used
    assert given == frames
    return peak.sizes


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("asked", "group", "used"),
    [("decord", 10**6, "pyav"), ("decord", 60, "decord"), ("pyav", 10**6, "pyav")],
)
def test_memory_has_a_bound(
    ray_local: None,
    tmp_path: Path,
    asked: DecoderName,
    group: int,
    used: DecoderName,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Below 1.5 GB everywhere, and the same within a tenth whatever the length.

    With one group of pictures there is nothing to cut, and decord is not used.
    """
    sizes: dict[int, dict[str, int]] = {}
    for frames in (1000, 3000):
        path = make_video(tmp_path / f"{frames}.mp4", frames, width=1920, height=1080, group=group, still=True)
        sizes[frames] = read_slowly(path, asked, used, frames)
        with capsys.disabled():
            text = ", ".join(f"{kind} {size / MiB:.0f} MiB" for kind, size in sorted(sizes[frames].items()))
            size = path.stat().st_size >> 10
            groups = f"key frame every {group}" if group < frames else "one key frame"
            print(f"\n{frames} still frames of 1080p, {size} KiB, {groups}, {asked} asked, {used} used: {text}")
    assert max(size for found in sizes.values() for size in found.values()) < 1.5e9
    for kind in sizes[3000]:
        assert sizes[3000][kind] <= 1.1 * sizes[1000][kind], kind
