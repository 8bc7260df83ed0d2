"""Names of the output's files: which shard, which commit of it, and what kind of clips are inside."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

MASKS_FOLDER = "masks"
CLIPS_FOLDER = "clips"
RUNS_FOLDER = "_runs"
_CLIPS_NAME = re.compile(r"part-(?P<shard>.+)-(?P<number>\d{4,})(-(?P<status>partial|failed))?\.parquet")
_MASKS_NAME = re.compile(r"part-.+-[0-9a-f]{12}\.parquet")
_ENDING = {"ok": "", "partial": "-partial", "failed": "-failed"}
STATUSES = tuple(_ENDING)
"""Of the clips."""


@dataclass(frozen=True, slots=True)
class ClipsPart:
    """The name of a clips part, taken apart."""

    shard: str
    number: int
    status: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"part-{self.shard}-{self.number:04d}{_ENDING[self.status]}.parquet"

    @classmethod
    def parse(cls, name: str) -> ClipsPart | None:
        """Takes a file's name apart; None for a foreign file."""
        match = _CLIPS_NAME.fullmatch(name)
        if match is None:
            return None
        return cls(match["shard"], int(match["number"]), match["status"] or "ok")


def masks_part_name(shard: str) -> str:
    """A new name for a masks part of a shard."""
    return f"part-{shard}-{uuid.uuid4().hex[:12]}.parquet"


def is_masks_part(name: str) -> bool:
    """Whether a file's name is one of a masks part."""
    return _MASKS_NAME.fullmatch(name) is not None
