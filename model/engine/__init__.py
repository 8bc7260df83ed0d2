"""Many tracks stepped together on one device."""

from model.engine.engine import Engine
from model.engine.track import Track, TrackOutput

__all__ = ["Engine", "Track", "TrackOutput"]
