"""Pictures of a manifest's init boxes on their init frames, to look at before a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.video import VideoError, open_video
from model.video.overlay import colour_of
from pipeline.clip import Clip, ObjectStart
from pipeline.decode.staging import staged
from pipeline.manifest import Manifest

_DARK = (24, 24, 24)


def draw_previews(manifest: Manifest, folder: Path, *, most: int) -> Iterator[tuple[Path | None, str]]:
    """Draw the first clips of a manifest: one picture an init frame, `<clip>-<frame>.jpg`.

    Args:
        manifest: checked.
        folder: where the pictures go; made.
        most: clips to draw.

    Yields:
        Each picture's path and an empty text, or None and why it could not be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in islice(manifest.clips(), most):
        try:
            with staged(clip.video_location) as path:
                yield from _clip(clip, path, folder)
        except VideoError as error:
            yield None, f"clip {clip.clip_id}: {error}"


def _clip(clip: Clip, path: Path, folder: Path) -> Iterator[tuple[Path | None, str]]:
    video = open_video(path)
    ids = list(dict.fromkeys(start.object_id for start in clip.objects))
    by_frame: dict[int, list[ObjectStart]] = defaultdict(list)
    for start in clip.objects:
        by_frame[clip.start_frame or 0 if start.init_frame is None else start.init_frame].append(start)
    for frame, starts in sorted(by_frame.items()):
        picture = next((read_frame.image for read_frame in video.read(frame, frame + 1)), None)
        if picture is None:
            yield None, f"clip {clip.clip_id}: its video has no frame {frame}, it has {video.frames}"
            continue
        for start in starts:
            draw_start(picture, start, colour_of(ids.index(start.object_id)))
        target = folder / f"{clip.clip_id}-{frame:06d}.jpg"
        full_colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        cv2.imwrite(str(target), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88, *full_colour])
        yield target, ""


def draw_start(picture: NDArray[np.uint8], start: ObjectStart, colour: tuple[int, int, int]) -> None:
    """Draw an object's box or polygon, and its id above it, on uint8 [H, W, 3] RGB, in place."""
    if start.polygon is not None:
        corners = np.array(start.polygon).reshape(4, 2)
    else:
        x, y, w, h = start.box if start.box is not None else (0.0, 0.0, 0.0, 0.0)
        corners = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
    thickness = max(1, round(min(picture.shape[:2]) / 300))
    line: Any = np.rint(corners * 16).astype(np.int32)
    for shade, width in ((_DARK, thickness + 2), (colour, thickness)):
        cv2.polylines(picture, [line], True, shade, width, cv2.LINE_AA, shift=4)
    scale = max(0.4, min(picture.shape[:2]) / 720)
    (wide, high), below = cv2.getTextSize(start.object_id, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = int(np.clip(corners[:, 0].min(), 0, max(0, picture.shape[1] - wide - 8)))
    top = int(np.clip(corners[:, 1].min() - high - below - 10, 0, max(0, picture.shape[0] - high - below - 6)))
    cv2.rectangle(picture, (left, top), (left + wide + 7, top + high + below + 5), _DARK, -1)
    origin = (left + 4, top + high + 3)
    cv2.putText(picture, start.object_id, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
