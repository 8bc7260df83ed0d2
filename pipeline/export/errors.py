"""What an export cannot do."""

from __future__ import annotations


class ExportError(Exception):
    """A clip does not fit the format; one sentence that names it and says why."""
