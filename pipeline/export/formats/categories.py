"""The categories of a COCO-like document: the objects' own, and a default for objects without one."""

from __future__ import annotations

from typing import Any


class Categories:
    """Numbers from 1 in the order in which categories are met.

    Args:
        default: of objects without a category.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._numbers: dict[str, int] = {}
        self.listed: list[dict[str, Any]] = []

    def number(self, category: str | None) -> int:
        """The id of a category, which is listed from now on."""
        name = category or self._default
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers) + 1
            self.listed.append({"id": self._numbers[name], "name": name, "supercategory": ""})
        return self._numbers[name]
