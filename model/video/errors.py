"""What is wrong with a video; in the service it becomes the error columns of a clip."""

from __future__ import annotations

from typing import Literal

Stage = Literal["fetch", "open", "decode"]


class VideoError(Exception):
    """A video that cannot be fetched, opened or decoded as asked.

    `stage` and `error_type` are the columns `error_stage` and `error_type` of `clips`. `error_type` is one of:
    fetch: `NotFound`, `NotAFile`, `FetchError`, `DiskFull`, `FileTooLarge`;
    open: `NotFound`, `EmptyFile`, `InvalidData`, `NoVideoStream`, `UnsupportedCodec`, `UnsupportedFormat`,
    `FrameTooLarge`, `NoFrames`, `RangeOutsideVideo`;
    decode: `InvalidData`, `TooManyCorrupt`, `Truncated`, `SizeChanged`, `IndexMismatch`, `Timeout`, `WorkerCrashed`.

    Attributes:
        message: names the video and says what is wrong; also the exception's text.
        keep_rows: frames handed out before the error are right and worth keeping.
    """

    def __init__(self, stage: Stage, error_type: str, message: str, *, keep_rows: bool = False) -> None:
        super().__init__(stage, error_type, message)
        self.stage: Stage = stage
        self.error_type = error_type
        self.message = message
        self.keep_rows = keep_rows

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.stage, self.error_type, self.message, self.keep_rows)

    def __str__(self) -> str:
        return self.message


def _rebuild(stage: Stage, error_type: str, message: str, keep_rows: bool) -> VideoError:
    return VideoError(stage, error_type, message, keep_rows=keep_rows)
