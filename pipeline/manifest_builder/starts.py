"""From labelled objects to the objects of a manifest's row: the video's frames and pixels, key frames and ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from model.video import VideoError, VideoIndex, index_video
from pipeline import storage
from pipeline.decode.picture_staging import list_pictures
from pipeline.decode.staging import staged
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledObject, LabelledVideo

KeyFrames = Literal["first", "all"]
Ends = Literal["labelled", "ignore"]


@dataclass(slots=True)
class Converter:
    """From the labels' units and frames to those of one video.

    Attributes:
        frames: how many the video has; None where it was not looked into.
        counts: whether the labels say how many frames the video has, which may be one more than it has.
    """

    where: str
    notes: list[str]
    scale_x: float = 1.0
    scale_y: float = 1.0
    frames: int | None = None
    frame_ratio: float = 1.0
    seconds: np.ndarray | None = None
    pictures: dict[int, int] = field(default_factory=dict)
    counts: bool = False
    _beyond: int = 0

    @classmethod
    def of(cls, uri: str, labels: LabelledVideo, notes: list[str]) -> Converter:
        """Looks into the video where it is local, or where the labels are in percent or in seconds of it.

        Raises:
            LabelError: the labels need a look into the video, which cannot be read.
        """
        out = cls(labels.where, notes)
        needed = labels.unit == "percent" or labels.clock == "milliseconds"
        if not needed and not storage.parse(uri).is_local:
            return out
        info = _index(uri, labels, needed)
        if info is None:
            return out
        out.frames, out.counts = info.frames, labels.frames is not None
        if labels.unit == "percent":
            out.scale_x, out.scale_y = info.width / 100, info.height / 100
        if labels.clock == "milliseconds":
            out.seconds = info.seconds(np.arange(info.frames))
        if labels.unit == "percent" and labels.frames is not None and abs(labels.frames - info.frames) > 1:
            out.frame_ratio = info.frames / labels.frames
            notes.append(
                f"{labels.where}: labelled as {labels.frames} frames, the video has {info.frames}; frames were "
                "converted in proportion (set frameRate in the labelling config to the video's own)"
            )
        if labels.pictures and uri.endswith("/"):
            by_stem = {PurePosixPath(storage.name(item.uri)).stem: i for i, item in enumerate(list_pictures(uri[:-1]))}
            out.pictures = {frame: by_stem[stem] for frame, stem in labels.pictures.items() if stem in by_stem}
        return out

    def objects(self, labels: LabelledVideo, keyframes: KeyFrames, ends: Ends) -> list[dict[str, Any]]:
        """The entries of a manifest's `objects`; notes what lies beyond the video's end, and leaves it out."""
        objects = [start for labelled in labels.objects for start in self._starts(labelled, keyframes, ends)]
        if self._beyond:
            self.notes.append(
                f"{self.where}: {self._beyond} boxes on frames from {self.frames} on, where the video ends, passed over"
            )
        return objects

    def in_pixels(self, labels: LabelledVideo) -> LabelledVideo:
        """The labels in pixels and frames of the video."""
        objects = [
            replace(
                labelled,
                boxes=[
                    replace(
                        box,
                        frame=self._frame(box.frame),
                        x=box.x * self.scale_x,
                        y=box.y * self.scale_y,
                        w=box.w * self.scale_x,
                        h=box.h * self.scale_y,
                    )
                    for box in labelled.boxes
                ],
                ends=[round(end * self.frame_ratio) for end in labelled.ends],
            )
            for labelled in labels.objects
        ]
        return replace(labels, objects=tuple(objects), unit="pixels")

    def _starts(self, labelled: LabelledObject, keyframes: KeyFrames, ends: Ends) -> Iterator[dict[str, Any]]:
        spans = labelled.spans() if ends == "labelled" else [(labelled.boxes, None)]
        next_free = 0
        for boxes, end in spans:
            drawn = [box for box in boxes if box.drawn] or boxes
            end_frame = None if end is None else self._frame(end)
            for box in drawn if keyframes == "all" else drawn[:1]:
                frame = self._frame(box.frame)
                if self.frames is not None and frame >= self.frames:
                    self._beyond += 1
                    continue
                if frame < next_free:
                    continue
                next_free = frame + 1
                start = {"object_id": labelled.object_id, "init_frame": frame, **self._place(box)}
                if labelled.category is not None:
                    start["category"] = labelled.category
                if end_frame is not None and (self.frames is None or end_frame < self.frames):
                    start["end_frame"] = max(end_frame, frame + 1)
                yield start

    def _frame(self, frame: int) -> int:
        if self.seconds is not None:
            return int(np.abs(self.seconds - frame / 1000).argmin())
        if self.pictures:
            return self.pictures.get(frame, frame)
        scaled = round(frame * self.frame_ratio)
        return scaled - 1 if self.counts and scaled == self.frames else scaled

    def _place(self, box: LabelledBox) -> dict[str, list[float]]:
        if not box.upright:
            return {"polygon": [round(value, 3) for value in box.corners(self.scale_x, self.scale_y)]}
        values = (box.x * self.scale_x, box.y * self.scale_y, box.w * self.scale_x, box.h * self.scale_y)
        return {"box": [round(value, 3) for value in values]}


def _index(uri: str, labels: LabelledVideo, needed: bool) -> VideoIndex | None:
    try:
        with staged(uri) as path:
            return index_video(path, location=storage.redact(uri))
    except VideoError as error:
        if not needed:
            return None
        measure = "percent" if labels.unit == "percent" else "seconds"
        raise LabelError(f"{labels.where}: its boxes are in {measure}, and the video cannot be read: {error}") from None
