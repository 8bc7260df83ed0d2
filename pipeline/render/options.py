"""The options of drawing clips: the fields are those of `jobs/render.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, get_args

from typer import Option

from pipeline.errors import UsageError
from pipeline.reading.options import Between, ClipSelection, Layout

if TYPE_CHECKING:
    from model.video.overlay import OverlayStyle


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What `jobs/render.py` was asked to do; `layout` and `between` are those of `RunClip.drawn`.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    run: Annotated[str, Option(help="The --output of jobs/segment.py.", metavar="URI")]
    output: Annotated[str, Option(help="Folder for the videos, <clip_id>.mp4.", metavar="URI")]
    selection: ClipSelection = ClipSelection()
    layout: Annotated[Layout, Option(help="overlay, side-by-side or masks.")] = "overlay"
    between: Annotated[
        Between, Option(help="In frames that a stride leaves out: hold (outline the last masks) or blank.")
    ] = "hold"
    opacity: Annotated[float, Option(help="Of the colour inside a mask, 0 to 1.")] = 0.45
    contour: Annotated[bool, Option(help="Draw the outlines of masks.")] = True
    box: Annotated[bool, Option(help="Draw rotated boxes.")] = True
    label: Annotated[bool, Option(help="Write ids and scores.")] = True
    videos: Annotated[
        str | None, Option(help="Folder of relative video_uris [the manifest's own].", metavar="URI")
    ] = None
    strict: Annotated[bool, Option("--strict", help="Exit with 3 when any clip could not be drawn.")] = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("layout", self.layout, Layout), ("between", self.between, Between)):
            if value not in get_args(allowed):
                raise UsageError(f"--{name} {value}: expected one of {', '.join(get_args(allowed))}")
        if not 0 <= self.opacity <= 1:
            raise UsageError(f"--opacity {self.opacity}: expected a number from 0 to 1")

    @property
    def style(self) -> OverlayStyle:
        """What an overlay draws."""
        from model.video.overlay import OverlayStyle

        return OverlayStyle(self.opacity, self.contour, self.box, self.label)
