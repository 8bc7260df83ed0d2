"""What the backward pass of a clip gives, until the forward pass comes to its frames.

Frames are tracked backward first, so that results come out in the order of their frames: those of the backward pass
wait on the local disk, and the last that was put there is the first that is asked for.
"""

from __future__ import annotations

import pickle
import struct
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

IN_MEMORY_BYTES = 1 << 20
"""Up to so many bytes of results need no file."""
_LENGTH = struct.Struct("<Q")


class _Result(Protocol):
    @property
    def presence(self) -> float: ...


T = TypeVar("T", bound=_Result)


class BackwardResults(Generic[T]):
    """The results of a backward pass, frame by frame.

    Args:
        folder: where they wait; by default the system's temporary folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._last: tuple[int, dict[str, T]] | None = None

    def push(self, frame_index: int, results: Mapping[str, T]) -> None:
        """Put away the results of a frame, by object id; frames come in descending order. Raises OSError."""
        if results:
            data = pickle.dumps((frame_index, dict(results)), pickle.HIGHEST_PROTOCOL)
            self._file.write(data + _LENGTH.pack(len(data)))

    def merged(self, frame_index: int, forward: Mapping[str, T]) -> dict[str, T]:
        """A frame's results of both passes, by object id: of an object that is in both, the one of higher presence.

        Frames are asked for in ascending order, after the last `push`; what waits of frames before is dropped.

        Args:
            forward: those of the forward pass, which are taken where both are as sure.

        Raises:
            OSError: the disk is broken.
        """
        while self._last is None or self._last[0] < frame_index:
            self._last = self._pop()
            if self._last is None:
                return dict(forward)
        if self._last[0] > frame_index:
            return dict(forward)
        both = dict(self._last[1])
        for object_id, result in forward.items():
            if object_id not in both or result.presence >= both[object_id].presence:
                both[object_id] = result
        return {object_id: both[object_id] for object_id in sorted(both)}

    def _pop(self) -> tuple[int, dict[str, T]] | None:
        end = self._file.tell()
        if not end:
            return None
        self._file.seek(end - _LENGTH.size)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        start = end - _LENGTH.size - length
        self._file.seek(start)
        last = pickle.loads(self._file.read(length))
        self._file.truncate(start)
        self._file.seek(start)
        return last
