"""Frames that the caller has, or makes one after the other, read as a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.video.reader import Frame

FALLBACK_FPS = 25.0
_END: Any = object()


class ArrayVideo:
    """Frames given as arrays, with what `model.video.Video` has of a file.

    Args:
        frames: uint8 [H, W, 3] RGB each, all of one size. Either a sequence, such as a list or one array [N, H, W, 3];
            or any other iterable, such as a generator, which is gone through once: its first frame is taken at once to
            learn the size, and one frame is held at a time.
        fps: frames a second, for the frames' times.

    Attributes:
        index: stands for which frames there are, and stays the same.

    Raises:
        ValueError: it is no iterable, has no frames, or its first one is no such array.
    """

    def __init__(self, frames: Any, *, fps: float | None = None) -> None:
        is_sequence = hasattr(frames, "__getitem__") and hasattr(frames, "__len__")
        if not is_sequence and not isinstance(frames, Iterable) or isinstance(frames, Mapping | bytes):
            raise ValueError(f"expected the path of a video or its frames as arrays, got {type(frames).__name__}")
        self._sequence: Sequence[Any] | None = frames if is_sequence else None
        self._rest = iter(()) if is_sequence else iter(frames)
        self._taken = 0
        self.index = object()
        self.fps = FALLBACK_FPS if fps is None else fps
        self.frames: int | None = len(self._sequence) if self._sequence is not None else None
        self.height, self.width = 0, 0
        first = next(self._rest, _END) if self._sequence is None else self._sequence[0] if self.frames else _END
        if first is _END:
            raise ValueError("expected frames as arrays, got none")
        self._first: NDArray[np.uint8] | None = self._checked(first, 0)
        self.height, self.width = self._first.shape[:2]

    @property
    def once(self) -> bool:
        """Whether the frames come once, in their order."""
        return self._sequence is None

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        """The frames start to end (half-open), each a copy; of frames that come once, `frames` is known at their end.

        Raises:
            ValueError: one is no uint8 [H, W, 3], or of another size than the first.
        """
        for number, item in self._items(start, end):
            yield Frame(number, number / self.fps, self._checked(item, number))

    def read_backward(self, start: int, end: int) -> Iterator[Frame]:
        """The frames of a range (half-open) of a sequence, the last one first."""
        assert self._sequence is not None or start >= end
        for number in reversed(range(start, end)):
            yield Frame(number, number / self.fps, self._checked(self._sequence[number], number))  # type: ignore[index]

    def _items(self, start: int, end: int | None) -> Iterator[tuple[int, Any]]:
        if self._sequence is not None:
            for number in range(start, len(self._sequence) if end is None else min(end, len(self._sequence))):
                yield number, self._sequence[number]
            return
        while end is None or self._taken < end:
            number = self._taken
            item, self._first = (next(self._rest, _END) if number else self._first), None
            if item is _END:
                self.frames = number
                return
            self._taken += 1
            if number >= start:
                yield number, item

    def _checked(self, item: ArrayLike, number: int) -> NDArray[np.uint8]:
        """The frame as an array of its own: a generator may fill the same one again, and a tracker reads it later."""
        try:
            image = np.asarray(item)
        except (TypeError, ValueError):
            image = np.empty(0, object)
        sides = image.shape[:2] if image.ndim == 3 else ()
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or 0 in sides or self.height and sides != self._size:
            expected = f"[{self.height}, {self.width}, 3] as frame 0" if self.height else "[H, W, 3]"
            given = f"{image.dtype} {list(image.shape)}" if hasattr(item, "dtype") else type(item).__name__
            raise ValueError(f"frame {number}: expected uint8 {expected}, RGB, got {given}")
        return np.array(image, order="C")

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width
