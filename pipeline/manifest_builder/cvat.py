"""CVAT for video 1.1: XML with tracks, whose boxes carry frame numbers of the source video.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and .../xml_format/. A track has a shape on
every frame; `keyframe="1"` marks those that a person drew, `outside="1"` those on which the object is not to be seen.
A polygon or a mask gives the box around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from pipeline.manifest_builder.files import LabelFile
from pipeline.manifest_builder.labels import (
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


def read_cvat(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read an export; one video a task.

    Args:
        file: the XML.
        notes: what was passed over is added here.

    Raises:
        LabelError: it is no such XML, or a value in it cannot be used; names the line.
    """
    reader = _Reader(file.shown, notes)
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
    """A task of the export: what it is called, and its tracks."""

    names: dict[str, str] = field(default_factory=dict)
    tracks: list[LabelledObject] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    shown: str
    notes: list[str]
    path: list[str] = field(default_factory=list)
    said: str = ""
    tasks: dict[str, _Task] = field(default_factory=dict)
    project_task: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    track: LabelledObject | None = None
    track_task: str = ""
    others: int = 0
    line: int = 0

    def refuse_doctype(self, *_: object) -> None:
        raise LabelError(f"{self.shown}: expected a CVAT export, got XML with a document type of its own")

    def start(self, tag: str, attributes: dict[str, str], line: int) -> None:
        where = f"{self.shown}:{line}"
        self.line, self.said = line, ""
        if not self.path and tag != "annotations":
            raise LabelError(f"{where}: expected a CVAT export with <annotations> at its top, got <{tag}>")
        self.path.append(tag)
        if self.path == ["annotations", "image"]:
            raise LabelError(f"{where}: this is an export of single images; export as 'CVAT for video 1.1'")
        if self.path == ["annotations", "track"]:
            label, track_id = attributes.get("label", "object"), attributes.get("id", "")
            if not track_id:
                raise LabelError(f"{where}: expected a track with an id")
            self.track, self.track_task = LabelledObject(f"{label}-{track_id}"), attributes.get("task_id", "")
            self.others = 0
        elif self.track is not None and self.path[:-1] == ["annotations", "track"]:
            if tag in _SHAPES:
                self._shape(tag, attributes, where)
            elif tag in _OTHER_SHAPES:
                self.others += 1

    def text(self, piece: str) -> None:
        self.said += piece

    def end(self, tag: str) -> None:
        inside = "/".join(self.path[2:]) if self.path[:2] == ["annotations", "meta"] else ""
        if inside in _NAMES:
            self.names[inside] = self.said.strip()
        elif inside.startswith("project/tasks/task/"):
            self.project_task[inside.removeprefix("project/tasks/task/")] = self.said.strip()
        elif inside == "project/tasks/task":
            self.tasks[self.project_task.get("id", "")] = _Task(
                {f"task/{name}": value for name, value in self.project_task.items()}
            )
            self.project_task = {}
        elif self.path == ["annotations", "track"] and self.track is not None:
            self._end_track(self.track)
        self.path.pop()
        self.said = ""

    def videos(self) -> list[LabelledVideo]:
        """One a task; a task without tracks has no objects."""
        if not self.tasks:
            self.tasks[""] = _Task()
        out = []
        for task_id, task in self.tasks.items():
            known = {**self.names, **task.names} if not task_id else task.names
            names = tuple(dict.fromkeys(known[name] for name in _NAMES if known.get(name)))
            where = f"{self.shown}, task {task_id}" if task_id else self.shown
            if not names:
                raise LabelError(f"{where}: expected <meta> to name the video (<source>) or the task")
            out.append(LabelledVideo(names, where, tuple(task.tracks)))
        return out

    def _end_track(self, track: LabelledObject) -> None:
        if self.track_task and self.track_task not in self.tasks and self.tasks:
            raise LabelError(f"{self.shown}: track {track.object_id} is of task {self.track_task}, which <meta> lacks")
        task = self.tasks.get(self.track_task) or self.tasks.setdefault("", _Task())
        if self.others:
            self.notes.append(f"{self.shown}: track {track.object_id}: {self.others} shapes without a box passed over")
        if track.boxes:
            track.boxes.sort(key=lambda box: box.frame)
            task.tracks.append(track)
        elif not self.others:
            self.notes.append(f"{self.shown}: track {track.object_id} has no box on which it is to be seen")
        self.track = None

    def _shape(self, tag: str, attributes: dict[str, str], where: str) -> None:
        assert self.track is not None
        if attributes.get("outside") == "1":
            return
        frame = whole(attributes.get("frame"), where, "frame")
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
