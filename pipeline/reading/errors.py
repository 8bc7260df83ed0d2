"""What an output does not have, said by name."""

from __future__ import annotations


class NotInRun(LookupError):
    """Something was asked for that the output does not have; one sentence that names it and what there is."""


class NoSuchRun(NotInRun):
    """The folder holds no run."""


class NoSuchClip(NotInRun):
    """The output has no clip of this id."""


class NoSuchObject(NotInRun):
    """The clip has no object of this id, or no masks at all because it failed."""


class NoSuchFrame(NotInRun):
    """The frame is not of the clip's range, could not be decoded, or has no row for the object."""
