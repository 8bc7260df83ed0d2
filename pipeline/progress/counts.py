"""Counts of a run: clips, frames, seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Counts:
    """What has been done in this run so far, or since the last report.

    Attributes:
        ok, partial, failed: clips ended, by status.
        frames: frames handed to the tracker; one that is tracked both ways counts twice.
        track_frames: mask rows made, one an object and frame.
        commits: parts committed.
        retries: clips started over, since their decode worker was lost.
        decode_wait_s: seconds that clips waited for decoded frames.
        busy_s: seconds that engines spent on the device.
    """

    ok: int = 0
    partial: int = 0
    failed: int = 0
    frames: int = 0
    track_frames: int = 0
    commits: int = 0
    retries: int = 0
    decode_wait_s: float = 0.0
    busy_s: float = 0.0

    @property
    def clips(self) -> int:
        """Clips that have ended."""
        return self.ok + self.partial + self.failed

    def add(self, other: Counts) -> None:
        """Add the other's counts to these."""
        for field in fields(Counts):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def to_dict(self) -> dict[str, float]:
        return asdict(self)
