"""SiamMask and its tracker, in PyTorch.

`from model import track_video` tracks objects through one video in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.track.one_video import track_video
    from model.track.results import FrameResult, ObjectResult, ObjectTrack, collect

__all__ = ["FrameResult", "ObjectResult", "ObjectTrack", "collect", "track_video"]


def __getattr__(name: str) -> Any:
    # On first use: whoever imports a module of this package for its geometry alone does not pay for PyTorch.
    if name == "track_video":
        from model.track.one_video import track_video

        return track_video
    if name in __all__:
        from model.track import results

        return getattr(results, name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
