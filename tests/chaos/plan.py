"""What a chaos run does to the job: which kills and outages, and how many."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.proxy import Fault

KILLS = {
    "decoder": 7,
    "decoder-segv": 2,
    "actor": 6,
    "node": 2,
    "node-for-good": 1,
    "control": 1,
    "driver": 2,
    "machine": 1,
}
"""Of every 24 kills so many. A machine is all nodes and the driver; the nodes after it are new ones."""
BETWEEN = ("actor-between", "driver-between")
"""And two at the worst moment: between the two files of a commit."""
OUTAGES: tuple[tuple[Fault, float, float], ...] = (
    ("cut", 4.0, 1.0),
    ("throttle", 5.0, 0.7),
    ("error", 5.0, 0.5),
    ("slow", 6.0, 0.6),
    ("torn", 5.0, 0.5),
    ("silent", 3.0, 1.0),
)
"""Fault, seconds, share of the requests."""
DECODING = {"decoder", "decoder-segv", "node", "node-for-good"}
DECODING_PAUSE_S = 40.0
"""A clip whose decode worker dies three times is to become a `partial` or `failed` row, which is not what this
compares: of the kills that end decode workers only two come in such a time, in which the clip they met has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and what to do to it."""

    clips: int = 60
    kills: int = 24
    outages: int = 6
    seed: int = 1
    nodes: int = 3
    cpus: int = 2
    actors: int = 2
    pause_s: tuple[float, float] = (1.0, 4.0)
    limit_s: float = 1800.0
