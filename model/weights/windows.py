"""Search windows cut from videos at random, to measure a network's maps on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from model.network.siammask import SEARCH_SIZE
from model.video import Video, VideoError, open_video

_LEAST_SHARE = 0.25  # of a frame's shorter side that a window has


def windows_of_videos(paths: Sequence[Path], count: int, *, seed: int) -> list[np.ndarray]:
    """Squares of frames, of any place and of a quarter to the whole of the shorter side.

    Args:
        paths: videos, and folders whose files that are videos are taken, in order of their names.
        count: windows, spread over the videos.
        seed: of frames and places; the same gives the same windows.

    Returns:
        uint8 [255, 255, 3] BGR each.

    Raises:
        VideoError: a video cannot be read, or a folder holds none.
    """
    videos = [video for path in paths for video in _videos(path)]
    rng = np.random.default_rng(seed)
    windows: list[np.ndarray] = []
    for number, video in enumerate(videos):
        share = count * (number + 1) // len(videos) - count * number // len(videos)
        windows += _windows_of_video(video, share, rng)
    return windows


def _videos(path: Path) -> list[Video]:
    if not path.is_dir():
        return [open_video(path)]
    videos = []
    for file in sorted(item for item in path.iterdir() if item.is_file()):
        with contextlib.suppress(VideoError):
            videos.append(open_video(file))
    if not videos:
        raise VideoError("open", "NoVideoStream", f"{path}: no file in this folder is a video")
    return videos


def _windows_of_video(video: Video, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    windows = []
    for index in sorted(int(number) for number in rng.integers(0, video.frames, count)):
        for frame in video.read(index, index + 1):
            height, width = frame.image.shape[:2]
            side = int(min(height, width) * rng.uniform(_LEAST_SHARE, 1))
            top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
            square = np.ascontiguousarray(frame.image[top : top + side, left : left + side, ::-1])
            windows.append(cv2.resize(square, (SEARCH_SIZE, SEARCH_SIZE)))
    return windows
