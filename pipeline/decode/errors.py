"""The one exception of the decoding package: it becomes a clip's `error_stage`, `error_type` and `error_message`."""

from __future__ import annotations

from typing import Literal

Stage = Literal["fetch", "open", "decode"]


class VideoError(Exception):
    """A video that cannot be fetched, opened or decoded as asked.

    `stage` and `error_type` are the columns of `clips` of the same name. `error_type` is one of a small set:
    `NotFound`, `FetchError`, `DiskFull`, `FileTooLarge` (fetch); `EmptyFile`, `InvalidData`, `NoVideoStream`,
    `UnsupportedCodec`, `FrameTooLarge`, `NoFrames`, `RangeOutsideVideo` (open); `TooManyCorrupt`, `Truncated`,
    `SizeChanged`, `Timeout`, `WorkerCrashed` (decode).
    """

    def __init__(self, stage: Stage, error_type: str, message: str) -> None:
        super().__init__(stage, error_type, message)
        self.stage: Stage = stage
        self.error_type = error_type
        self.message = message

    def __str__(self) -> str:
        return f"{self.error_type} ({self.stage}): {self.message}"
