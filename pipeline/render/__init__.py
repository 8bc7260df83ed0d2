"""Pictures and videos of what was tracked."""

from pipeline.render.draw import Between, RenderError, Shown, draw_clip
from pipeline.render.layouts import Layout, lay_out
from pipeline.render.video import Rendered, render_clip, write_video

__all__ = [
    "Between",
    "Layout",
    "RenderError",
    "Rendered",
    "Shown",
    "draw_clip",
    "lay_out",
    "render_clip",
    "write_video",
]
