"""What workers do with a piece of a manifest: check it and report, or check it and hand its clips on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.clip import Clip
from pipeline.clip_hashes import digest
from pipeline.manifest.check import Rules
from pipeline.manifest.checked import Checked, Log
from pipeline.manifest.csv_rows import read_csv
from pipeline.manifest.files import Format, ManifestPiece
from pipeline.manifest.kept_columns import Seen
from pipeline.manifest.lines import read_lines
from pipeline.manifest.parquet import read_parquet
from pipeline.manifest.problems import MAX_PROBLEMS, ManifestError, Problem

_READERS: dict[Format, Callable[[ManifestPiece, Rules, Log], Iterator[Checked]]] = {
    "lines": read_lines,
    "parquet": read_parquet,
    "csv": read_csv,
}
_BATCH_ROWS = 10_000
_BATCH_CHARS = 16 << 20


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What rows are checked against, whatever file they are in: see `Rules`."""

    stride: int = 1
    keep: tuple[str, ...] = ()


class ClipRow(NamedTuple):
    """A checked clip as the planner needs it; `clip()` is the whole of it.

    Attributes:
        clip_id, clip_hash, video_uri: The clip's own.
        frames: Frames to track with the manifest's stride, None where only the video tells.
        text: The clip as JSON (`Clip.to_json`).
        row: Row of the file (see `Problem`): a CSV clip's first.
        file: URI of the manifest file.
    """

    clip_id: str
    clip_hash: str
    video_uri: str
    frames: int | None
    text: str
    row: int
    file: str

    def clip(self) -> Clip:
        """The clip."""
        return Clip.from_json(self.text)

    @property
    def place(self) -> str:
        """Where the manifest has the clip: `file:row`."""
        return f"{self.file}:{self.row}"


@dataclass(slots=True)
class PieceReport:
    """What checking one piece brought: all that the driver learns of it.

    Attributes:
        piece: The piece.
        rows: See `Log.rows`: the rows of problems and of kept types count from here on.
        clips, objects: How many there are; `objects` counts object ids, not key frames.
        frames: Frames to track in the clips whose range is given in frames.
        open_clips: Clips whose length only the video tells.
        digests: 16 bytes a clip (`ids.digest`).
        problems: The first `MAX_PROBLEMS`.
        columns, seen: See `Log`.
    """

    piece: ManifestPiece
    rows: int = 0
    clips: int = 0
    objects: int = 0
    frames: int = 0
    open_clips: int = 0
    digests: bytes = b""
    problems: list[Problem] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    seen: dict[str, list[Seen]] = field(default_factory=dict)


def check_piece(piece: ManifestPiece, options: ReadOptions, most: int | None = None) -> PieceReport:
    """Check a piece, up to the first `MAX_PROBLEMS` problems, or the first `most` clips."""
    log = Log()
    report = PieceReport(piece, columns=log.columns, seen=log.seen)
    digests = bytearray()
    for _, clip, problems in _checked(piece, options, log):
        report.problems += problems
        if len(report.problems) >= MAX_PROBLEMS:
            break
        if clip is not None:
            digests += digest(clip.clip_id, clip.clip_hash)
            frames = tracked_frames(clip, options.stride)
            report.clips += 1
            report.objects += len({start.object_id for start in clip.objects})
            report.frames += frames or 0
            report.open_clips += frames is None
            if report.clips == most:
                break
    report.rows, report.digests = log.rows, bytes(digests)
    return report


class ClipBatch(NamedTuple):
    """Some clips of a piece; `rows` is `Log.rows` in the piece's last batch, which may be empty, and 0 before."""

    piece: ManifestPiece
    clips: list[ClipRow]
    rows: int


def read_piece(piece: ManifestPiece, options: ReadOptions) -> Iterator[ClipBatch]:
    """The clips of a piece that has been found good, in batches.

    Raises:
        ManifestError: A row is bad after all: the file has changed since it was checked.
    """
    log = Log()
    clips: list[ClipRow] = []
    chars = 0
    for row, clip, problems in _checked(piece, options, log):
        if clip is None:
            raise ManifestError([replace(problem, file=piece.file.uri) for problem in problems])
        frames, text = tracked_frames(clip, options.stride), clip.to_json()
        clips.append(ClipRow(clip.clip_id, clip.clip_hash, clip.video_uri, frames, text, row, piece.file.uri))
        chars += len(text)
        if len(clips) == _BATCH_ROWS or chars > _BATCH_CHARS:
            yield ClipBatch(piece, clips, 0)
            clips, chars = [], 0
    yield ClipBatch(piece, clips, log.rows)


def tracked_frames(clip: Clip, stride: int) -> int | None:
    """How many frames of the clip are tracked; None where only the video tells."""
    count = clip.frame_count
    return None if count is None else -(-count // stride)


def _checked(piece: ManifestPiece, options: ReadOptions, log: Log) -> Iterator[Checked]:
    rules = Rules(piece.file.folder, options.stride, options.keep)
    return _READERS[piece.file.format](piece, rules, log)
