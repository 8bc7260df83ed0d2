"""The clip: a range of one video and the objects to track in it.

A `Clip` is what a manifest row becomes once it has been checked. It travels as JSON (inside the plan's Parquet
rows) and is plain data: nothing here reads a manifest, opens a video or checks a value. Whoever builds one
passes seconds and coordinates as floats, so that `10` in JSON Lines and `10.0` in Parquet have one `clip_hash`.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict, get_args

ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,200}")
"""What a `clip_id` must match as a whole."""

_STEM_LENGTH = 150
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]")

# Encoders are built once: `json.dumps` with options builds one a call, which doubles the time a clip.
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True)
_READABLE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

Direction = Literal["forward", "backward", "both"]
"""Where a track runs from its init frame: to the clip's end, to its start, or both."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

Box = tuple[float, float, float, float]
"""x, y, w, h in pixels of the upright frame, origin at the top-left corner."""

Polygon = tuple[float, float, float, float, float, float, float, float]
"""x1, y1, ... x4, y4 in pixels: the corners of a rotated box."""


class Rle(TypedDict):
    """A COCO RLE mask: `size` is [height, width], `counts` the compressed column-major runs."""

    size: list[int]
    counts: str


class _ObjectJson(TypedDict):
    object_id: str
    init_frame: NotRequired[int]
    end_frame: NotRequired[int]
    box: NotRequired[list[float]]
    polygon: NotRequired[list[float]]
    mask: NotRequired[Rle]
    category: NotRequired[str]
    direction: NotRequired[Direction]


@dataclass(frozen=True, slots=True)
class ObjectStart:
    """Where one object's track starts; exactly one of `box`, `polygon` and `mask` is set.

    The same `object_id` again with a later `init_frame` is a key frame: the track starts anew there.

    Args:
        object_id: Name of the object, unique in the clip.
        init_frame: Source frame on which the track starts; None is the clip's first frame.
        end_frame: First source frame that is no longer tracked; None is the clip's end.
        box: x, y, w, h in pixels.
        polygon: The four corners of a rotated box, in pixels.
        mask: COCO RLE of a full frame; its bounding box starts the track.
        category: What the object is; None where the manifest does not say.
        direction: Where its track runs from here.
    """

    object_id: str
    init_frame: int | None = None
    end_frame: int | None = None
    box: Box | None = None
    polygon: Polygon | None = None
    mask: Rle | None = None
    category: str | None = None
    direction: Direction = "forward"

    def to_dict(self) -> dict[str, Any]:
        """The object as JSON values; what is None is left out, and so is the direction forward."""
        out: dict[str, Any] = {"object_id": self.object_id}
        if self.init_frame is not None:
            out["init_frame"] = self.init_frame
        if self.end_frame is not None:
            out["end_frame"] = self.end_frame
        if self.box is not None:
            out["box"] = list(self.box)
        if self.polygon is not None:
            out["polygon"] = list(self.polygon)
        if self.mask is not None:
            out["mask"] = self.mask
        if self.category is not None:
            out["category"] = self.category
        if self.direction != "forward":
            out["direction"] = self.direction
        return out

    @classmethod
    def from_dict(cls, value: _ObjectJson) -> "ObjectStart":
        """The object that `to_dict` wrote."""
        box, polygon = value.get("box"), value.get("polygon")
        return cls(
            value["object_id"],
            value.get("init_frame"),
            value.get("end_frame"),
            None if box is None else tuple(box),  # type: ignore[arg-type]
            None if polygon is None else tuple(polygon),  # type: ignore[arg-type]
            value.get("mask"),
            value.get("category"),
            value.get("direction", "forward"),
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """A range of one video and the objects to track in it.

    Args:
        clip_id: Unique in the manifest; matches `ID_PATTERN`.
        video_uri: The video as the manifest writes it.
        video_location: The absolute URI to open.
        start_frame, end_frame: Half-open range of source frames; None is the video's first frame, or its end.
        start_s, end_s: The same in seconds, in place of frames.
        objects: At least one; the starts of one object stand together, in the order of their init frames.
        fps: Frames a second, where the video is a folder of pictures; None is 25.
        keep: Manifest columns to copy into the `clips` table, as JSON values.
    """

    clip_id: str
    video_uri: str
    video_location: str
    start_frame: int | None = None
    end_frame: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    objects: tuple[ObjectStart, ...] = ()
    keep: dict[str, Any] = field(default_factory=dict)
    fps: float | None = None

    @property
    def categories(self) -> dict[str, str | None]:
        """The category of each object, in their order."""
        known: dict[str, str | None] = {}
        for start in self.objects:
            known[start.object_id] = known.get(start.object_id) or start.category
        return known

    @property
    def backward_range(self) -> tuple[int, int] | None:
        """Half-open range of the source frames on which objects are tracked backward, as far as the manifest tells: it
        may begin before the clip. None where there are none."""
        frames: list[int] = []
        before: dict[str, int] = {}
        first = self.start_frame or 0
        for start in self.objects:
            init = first if start.init_frame is None else start.init_frame
            if start.direction == "backward" or (start.direction == "both" and init > first):
                frames += (before.get(start.object_id, -1) + 1, init + 1)
            before[start.object_id] = init
        return (min(frames), max(frames)) if frames else None

    @property
    def clip_hash(self) -> str:
        """SHA-256 (hex) over what decides the clip's result: `video_uri` as written, range and objects.

        The bytes hashed are canonical JSON: keys sorted, no spaces, non-ASCII escaped, what is None left out.
        """
        objects = [item.to_dict() for item in self.objects]
        value = {"video_uri": self.video_uri, **self._range(), "objects": objects}
        return hashlib.sha256(_CANONICAL.encode(value).encode("ascii")).hexdigest()

    @property
    def frame_count(self) -> int | None:
        """Source frames in the range, where the manifest alone says; None where only the video can tell."""
        return None if self.end_frame is None else self.end_frame - (self.start_frame or 0)

    def to_json(self) -> str:
        """The clip as one line of JSON."""
        value: dict[str, Any] = {
            "clip_id": self.clip_id,
            "video_uri": self.video_uri,
            "video_location": self.video_location,
            **self._range(),
            "objects": [item.to_dict() for item in self.objects],
        }
        if self.keep:
            value["keep"] = self.keep
        if self.fps is not None:
            value["fps"] = self.fps
        return _COMPACT.encode(value)

    @classmethod
    def from_json(cls, text: str) -> "Clip":
        """The clip that `to_json` wrote."""
        value = json.loads(text)
        objects = tuple(ObjectStart.from_dict(item) for item in value.pop("objects"))
        return cls(**value, objects=objects)

    def _range(self) -> dict[str, int | float]:
        ends = ("start_frame", "end_frame", "start_s", "end_s")
        return {name: value for name in ends if (value := getattr(self, name)) is not None}


def default_clip_id(
    video_uri: str,
    start_frame: int | None = None,
    end_frame: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    location: str = "",
) -> str:
    """The id of a clip whose manifest row has none: `<stem>-<12 hex digits>`.

    The stem is the file's name without its last suffix and without characters outside of `A-Za-z0-9._-`, cut
    to 150. The digits begin the SHA-256 of this JSON text in UTF-8, without spaces, non-ASCII characters as
    they are: `["<video_uri as written>",start_frame,end_frame,start_s,end_s]`. An end that is not given is
    `null`, and seconds are written as Python writes a float (`2.0`, `0.1`). Of a web server's file (`location` begins
    with `https://`) the stem has nothing of the query.

    >>> default_clip_id("videos/a film.mp4", 0, 250)
    'afilm-a00dd3a8c5d8'
    """
    on_the_web = (location or video_uri).startswith("https://")
    path = video_uri.partition("?")[0] if on_the_web else video_uri
    name = path.rstrip("/").rsplit("/", 1)[-1]
    stem, dot, _ = name.rpartition(".")
    stem = _NOT_IN_ID.sub("", stem if dot and stem else name)[:_STEM_LENGTH]
    seconds = [None if value is None else float(value) for value in (start_s, end_s)]
    text = _READABLE.encode([video_uri, start_frame, end_frame, *seconds])
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
