"""What FFmpeg's command line shows of a video: the judge of which frames there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FFMPEG = shutil.which("ffmpeg")
_SHOWN = re.compile(r"\] n: *\d+ pts: *\S+ +pts_time:(-?[\d.]+)")
_SIZE = re.compile(r"\bs:(\d+)x(\d+)")


@dataclass(frozen=True)
class FFmpegFrames:
    """Frames in order, uint8 [H, W, 3] RGB upright, and their times in seconds after the first."""

    frames: list[NDArray[np.uint8]]
    seconds: list[float]


def ffmpeg_frames(path: Path) -> FFmpegFrames:
    """Run `ffmpeg -vsync passthrough`; no frames where it cannot read the file."""
    command = [
        *(str(FFMPEG), "-hide_banner", "-nostdin", "-nostats", "-threads", "1", "-i", str(path)),
        *("-map", "0:V:0", "-vf", "showinfo", "-vsync", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"),
    ]
    done = subprocess.run(command, capture_output=True, timeout=60)
    frames, times, offset = list[NDArray[np.uint8]](), list[float](), 0
    for line in done.stderr.decode(errors="replace").splitlines():
        shown, size = _SHOWN.search(line), _SIZE.search(line)
        if shown is None or size is None:
            continue
        width, height = int(size[1]), int(size[2])
        end = offset + width * height * 3
        if end > len(done.stdout):
            break
        frames.append(np.frombuffer(done.stdout[offset:end], np.uint8).reshape(height, width, 3))
        times.append(float(shown[1]))
        offset = end
    return FFmpegFrames(frames, [time - times[0] for time in times])
