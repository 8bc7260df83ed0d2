"""Events on their way to another process, several at a time.

Each object of Ray costs about a millisecond on either side, and a short clip has three events.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from pipeline.decode.events import Chunk, ClipRequest, Event
from pipeline.decode.lane import lane_events
from pipeline.decode.settings import DecodeSettings

PACK_SECONDS = 0.03
"""An event waits no longer than this, or a sign of life, for others to go with."""


def lane_packs(requests: Sequence[ClipRequest], settings: DecodeSettings, first: int = 0) -> Iterator[list[Event]]:
    """The events of `lane_events` in order, in packs of `settings.pack_bytes` of frames; an empty pack is a sign of
    life.

    A chunk that fills a pack goes at once, with what waited for it.
    """
    pack: list[Event] = []
    held, since = 0, 0.0
    for event in lane_events(requests, settings, first):
        if event is None:
            yield pack
            pack, held = [], 0
            continue
        since = since if pack else time.monotonic()
        held += event.frames.nbytes if isinstance(event, Chunk) else 0
        full = held >= settings.pack_bytes or time.monotonic() - since > PACK_SECONDS
        pack.append(event)
        del event
        if full:
            yield pack
            pack, held = [], 0
    if pack:
        yield pack
