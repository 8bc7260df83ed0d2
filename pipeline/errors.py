"""The error that every module may raise for an unusable command line."""

from __future__ import annotations


class UsageError(Exception):
    """The command line, the manifest or the storage is unusable (exit status 2); one sentence that names the fault."""
