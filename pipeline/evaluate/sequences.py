"""Local sequences with rotated ground truth: VOT's folders of pictures, or a video with its truth beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.video import VideoError, open_video
from pipeline.errors import UsageError

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}
_TRUTH = ".groundtruth.txt"


@dataclass(frozen=True, slots=True)
class VotSequence:
    """A sequence to track.

    Attributes:
        name: of its folder or video.
        truth: float32 [N, 8], x1, y1 … x4, y4 a frame, pixels.
        source: the video file, or the pictures in order.
    """

    name: str
    truth: np.ndarray
    source: Path | tuple[Path, ...]

    def frames(self) -> Iterator[np.ndarray]:
        """Read the frames one by one, uint8 [H, W, 3] BGR, upright.

        Raises:
            UsageError: a picture or the video cannot be read; names it.
        """
        if isinstance(self.source, Path):
            yield from _video_frames(self.source)
            return
        import cv2

        for path in self.source:
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None:
                raise UsageError(f"sequence {self.name}: {path} cannot be read as a picture")
            yield picture


def find_sequences(folder: Path, names: tuple[str, ...] = ()) -> list[VotSequence]:
    """The sequences of a folder, by name, all or those named.

    A sequence is a folder with `groundtruth.txt` and pictures in it or in its `color/`, or a video file with
    `<stem>.groundtruth.txt` beside it.

    Raises:
        UsageError: there is no such folder, no sequence in it or none of a given name, its truth is unusable, or of
            another length than its pictures.
    """
    if not folder.is_dir():
        raise UsageError(f"--sequences {folder}: no such folder")
    sources: dict[str, tuple[Path, Path | tuple[Path, ...]]] = {}
    for truth in sorted(folder.glob("*/groundtruth.txt")):
        sources[truth.parent.name] = (truth, _pictures(truth.parent))
    for truth in sorted(folder.glob("*" + _TRUTH)):
        stem = truth.name.removesuffix(_TRUTH)
        videos = [path for path in sorted(folder.glob(stem + ".*")) if path != truth and path.stem == stem]
        if len(videos) != 1:
            raise UsageError(f"{truth}: expected one video named {stem}.* beside it, found {len(videos)}")
        sources[stem] = (truth, videos[0])
    if missing := sorted(set(names) - set(sources)):
        raise UsageError(
            f"--names {','.join(missing)}: not in {folder}, which has {', '.join(sources) or 'no sequence'}"
        )
    if not sources:
        raise UsageError(
            f"--sequences {folder}: no sequence in it: expected <name>/groundtruth.txt with pictures, or a video with "
            "<stem>.groundtruth.txt beside it"
        )
    return [
        _sequence(name, *where) for name, where in sorted(sources.items()) if not names or name in names
    ]  # fmt: skip


def read_truth(path: Path) -> np.ndarray:
    """Rotated boxes of a VOT ground truth file, float32 [N, 8].

    Raises:
        UsageError: a line is not eight numbers; names it.
    """
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(value) for value in line.split(",")]
        except ValueError:
            row = []
        if len(row) != 8 or not np.isfinite(row).all():
            raise UsageError(f"{path}, line {number}: expected the eight numbers x1,y1,…,x4,y4 of a rotated box")
        rows.append(row)
    if not rows:
        raise UsageError(f"{path}: it has no lines")
    return np.array(rows, np.float32)


def _sequence(name: str, truth: Path, source: Path | tuple[Path, ...]) -> VotSequence:
    lines = read_truth(truth)
    if isinstance(source, tuple) and len(source) != len(lines):
        raise UsageError(f"sequence {name}: {len(source)} pictures, but {len(lines)} lines of truth in {truth}")
    return VotSequence(name, lines, source)


def _pictures(folder: Path) -> tuple[Path, ...]:
    for place in (folder / "color", folder):
        pictures = [path for path in place.glob("*") if path.suffix.lower() in _PICTURES]
        if pictures:
            return tuple(sorted(pictures, key=_in_order))
    raise UsageError(f"{folder}: a ground truth but no pictures in it or in its color/")


def _in_order(path: Path) -> tuple[list[str | int], str]:
    """A key that sorts names as a reader counts: 2.png before 10.png, whether padded or not."""
    parts = re.split(r"(\d+)", path.stem)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def _video_frames(path: Path) -> Iterator[np.ndarray]:
    try:
        for frame in open_video(path).read():
            yield np.ascontiguousarray(frame.image[..., ::-1])
    except VideoError as error:
        raise UsageError(f"{path}: the video cannot be decoded: {error}") from error
