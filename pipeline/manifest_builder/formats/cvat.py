"""CVAT for video 1.1: XML with tracks, whose boxes carry frame numbers of the source video.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and .../xml_format/. A track has a shape on
every frame; `keyframe="1"` marks those that a person drew, `outside="1"` those on which the object is not to be seen.
A polygon or a mask gives the box around it.

In the export of a project the frames of a task count on from those of the tasks of its subset before it: by
`start_frame` and `size` times the step of each (`ProjectData` in cvat/apps/dataset_manager/bindings.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
    whole,
)

_SHAPES = ("box", "polygon", "mask")
_OTHER_SHAPES = ("polyline", "points", "cuboid", "ellipse", "skeleton")
_NAMES = ("source", "task/source", "job/source", "task/name")
_ID_ATTRIBUTE = "object_id"
_STEP = re.compile(r"step=(\d+)")


def is_cvat(file: LabelFile) -> bool:
    """Whether it is XML with <annotations> at its top, and not those of an image (Pascal VOC has <annotation>)."""
    return re.search(rb"<annotations[\s>]", file.content[:4096]) is not None


def read_cvat(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read an export; one video a task.

    Args:
        file: the XML.
        notes: what was passed over is added here.

    Raises:
        LabelError: it is no such XML, or a value in it cannot be used; names the line.
    """
    reader = _Reader(file.shown, file.sequence, notes)
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: reader.start(tag, attributes, parser.CurrentLineNumber)
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(file.content, True)
    except expat.ExpatError as error:
        raise LabelError(f"{file.shown}:{error.lineno}: expected XML: {expat.ErrorString(error.code)}") from None
    return reader.videos()


@dataclass(slots=True)
class _Task:
    """A task of the export: what `<meta>` says of it, and its tracks."""

    names: dict[str, str] = field(default_factory=dict)
    tracks: list[LabelledObject] = field(default_factory=list)

    @property
    def length(self) -> int:
        """By how many frames the next task of the subset counts on."""
        step = _STEP.search(self.names.get("task/frame_filter", ""))
        start, size = (self.names.get(f"task/{name}", "") for name in ("start_frame", "size"))
        return (int(start) if start.isdigit() else 0) + (int(step[1]) if step else 1) * (
            int(size) if size.isdigit() else 0
        )


@dataclass(slots=True)
class _Reader:
    shown: str
    sequence: str
    notes: list[str]
    path: list[str] = field(default_factory=list)
    characters: str = ""
    tasks: dict[str, _Task] = field(default_factory=dict)
    project_task: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    track: LabelledObject | None = None
    track_task: str = ""
    others: int = 0
    line: int = 0
    attribute: str = ""

    def refuse_doctype(self, *_: object) -> None:
        raise LabelError(f"{self.shown}: expected a CVAT export, got XML with a document type of its own")

    def start(self, tag: str, attributes: dict[str, str], line: int) -> None:
        where = f"{self.shown}:{line}"
        self.line, self.characters = line, ""
        if not self.path and tag != "annotations":
            raise LabelError(f"{where}: expected a CVAT export with <annotations> at its top, got <{tag}>")
        self.path.append(tag)
        if self.path == ["annotations", "image"]:
            raise LabelError(f"{where}: this is an export of single images; export as 'CVAT for video 1.1'")
        if self.path == ["annotations", "track"]:
            label, track_id = attributes.get("label", "object"), attributes.get("id", "")
            if not track_id:
                raise LabelError(f"{where}: expected a track with an id")
            self.track, self.track_task = (
                LabelledObject(f"{label}-{track_id}", category=label),
                attributes.get("task_id", ""),
            )
            self.others = 0
        elif self.track is not None and tag == "attribute":
            self.attribute = attributes.get("name", "")
        elif self.track is not None and self.path[:-1] == ["annotations", "track"]:
            if tag in _SHAPES:
                self._shape(tag, attributes, where)
            elif tag in _OTHER_SHAPES:
                self.others += 1

    def text(self, piece: str) -> None:
        self.characters += piece

    def end(self, tag: str) -> None:
        inside = "/".join(self.path[2:]) if self.path[:2] == ["annotations", "meta"] else ""
        if inside in _NAMES:
            self.names[inside] = self.characters.strip()
        elif inside.startswith("project/tasks/task/"):
            self.project_task[inside.removeprefix("project/tasks/task/")] = self.characters.strip()
        elif inside == "project/tasks/task":
            self.tasks[self.project_task.get("id", "")] = _Task(
                {f"task/{name}": value for name, value in self.project_task.items()}
            )
            self.project_task = {}
        elif self.track is not None and tag == "attribute" and self.attribute == _ID_ATTRIBUTE:
            self.track.given_id = self.characters.strip() or self.track.given_id
        elif self.path == ["annotations", "track"] and self.track is not None:
            self._end_track(self.track)
        self.path.pop()
        self.characters = ""

    def videos(self) -> list[LabelledVideo]:
        """One a task; a task without tracks has no objects."""
        offsets = self._offsets()
        if not self.tasks:
            self.tasks[""] = _Task()
        out = []
        for task_id, task in self.tasks.items():
            known = {**self.names, **task.names} if not task_id else task.names
            # A job's export names no video; the file may be called by it.
            own = [self.sequence] if len(self.tasks) == 1 and self.sequence else []
            names = tuple(dict.fromkeys([*(known[name] for name in _NAMES if known.get(name)), *own]))
            where = f"{self.shown}, task {task_id}" if task_id else self.shown
            if not names:
                raise LabelError(f"{where}: expected <meta> to name the video (<source>) or the task")
            tracks = self._shifted(task.tracks, offsets.get(task_id, 0), where)
            out.append(LabelledVideo(names, where, tuple(tracks)))
        return out

    def _offsets(self) -> dict[str, int]:
        """The frame at which each task of a project begins to count."""
        offsets = {}
        ends: dict[str, int] = defaultdict(int)
        for task_id, task in self.tasks.items():
            subset = task.names.get("task/subset", "")
            offsets[task_id] = ends[subset]
            ends[subset] += task.length
        return offsets

    def _shifted(self, tracks: list[LabelledObject], offset: int, where: str) -> list[LabelledObject]:
        if not offset or not tracks:
            return tracks
        if min(box.frame for track in tracks for box in track.boxes) < offset:
            self.notes.append(
                f"{where}: has frames before {offset}, where the frames of this task of the project begin: taken as "
                "the video's own"
            )
            return tracks
        for track in tracks:
            track.boxes = [replace(box, frame=box.frame - offset) for box in track.boxes]
            track.ends = [end - offset for end in track.ends]
        return tracks

    def _end_track(self, track: LabelledObject) -> None:
        if self.track_task and self.track_task not in self.tasks and self.tasks:
            raise LabelError(f"{self.shown}: track {track.object_id} is of task {self.track_task}, which <meta> lacks")
        task = self.tasks.get(self.track_task) or self.tasks.setdefault("", _Task())
        if self.others:
            self.notes.append(f"{self.shown}: track {track.object_id}: {self.others} shapes without a box passed over")
        if track.boxes:
            track.boxes.sort(key=lambda box: box.frame)
            track.ends.sort()
            task.tracks.append(track)
        elif not self.others:
            self.notes.append(f"{self.shown}: track {track.object_id} has no box on which it is to be seen")
        self.track = None

    def _shape(self, tag: str, attributes: dict[str, str], where: str) -> None:
        assert self.track is not None
        frame = whole(attributes.get("frame"), where, "frame")
        if attributes.get("outside") == "1":
            self.track.ends.append(frame)
            return
        if any(box.frame == frame for box in self.track.boxes[-1:]):
            raise LabelError(f"{where}: track {self.track.object_id} has two shapes on frame {frame}")
        if tag == "box":
            left, top, right, bottom = (
                number(attributes.get(name), where, name) for name in ("xtl", "ytl", "xbr", "ybr")
            )
            x, y, w, h = left, top, right - left, bottom - top
        elif tag == "mask":
            x, y, w, h = (number(attributes.get(name), where, name) for name in ("left", "top", "width", "height"))
        else:
            points = [pair.split(",") for pair in attributes.get("points", "").split(";")]
            xs = [number(pair[0], where, "points") for pair in points]
            ys = [number(pair[-1], where, "points") for pair in points]
            x, y, w, h = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
        angle = number(attributes.get("rotation", 0), where, "rotation") if tag == "box" else 0.0
        drawn = attributes.get("keyframe", "1") == "1"
        self.track.boxes.append(sized(LabelledBox(frame, x, y, w, h, angle, drawn=drawn), where))
