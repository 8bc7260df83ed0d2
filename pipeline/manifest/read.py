"""Read a manifest: first all of it is checked, before any work starts; then its clips are streamed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import pyarrow as pa

from pipeline import storage
from pipeline.clip import Clip
from pipeline.clip_hashes import SAME, ClipHashes, digest
from pipeline.manifest import kept_columns
from pipeline.manifest.check import CLIP_COLUMNS
from pipeline.manifest.checked import unknown
from pipeline.manifest.files import ManifestFile, ManifestPiece, batches, cut, list_manifest
from pipeline.manifest.kept_columns import Seen
from pipeline.manifest.piece_reader import ClipRow, PieceReport, ReadOptions, check_piece, read_piece
from pipeline.manifest.problems import MAX_PROBLEMS, ManifestError, Problem, show

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
_MOST_DUPLICATES = 100_000


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """What a checked manifest holds.

    Attributes:
        files: Number of files.
        clips, objects: How many there are; `objects` counts object ids, not key frames.
        frames: Frames to track in the clips whose range is given in frames.
        open_clips: Clips whose length only the video tells.
        unknown_columns: Columns that were ignored.
        kept: Names and types of the kept columns, in the order asked for.
    """

    files: int
    clips: int
    objects: int
    frames: int
    open_clips: int
    unknown_columns: tuple[str, ...]
    kept: pa.Schema


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that has been checked.

    Attributes:
        uri: As given.
        summary: What it holds.
        hashes: 16 bytes a clip, to compare with the clips of an output.
    """

    uri: str
    summary: ManifestSummary
    hashes: ClipHashes
    _files: tuple[ManifestFile, ...] = field(repr=False)
    _options: ReadOptions = field(repr=False)
    _in_process: bool = field(repr=False)

    @property
    def folders(self) -> list[str]:
        """URIs of the folders from which relative video URIs are seen, sorted."""
        return sorted({file.folder for file in self._files})

    def rows(self) -> Iterator[list[ClipRow]]:
        """The clips in the order of the manifest, in batches, read again.

        Raises:
            ManifestError: The manifest has changed since it was checked.
        """
        left = self.summary.clips
        for rows in _rows(self._files, self._options, self._in_process):
            chosen = rows[:left]
            digests = b"".join(digest(row.clip_id, row.clip_hash) for row in chosen)
            changed = self.hashes.compare(digests) != SAME
            if changed.any():
                raise self._changed(chosen[int(changed.argmax())].place)
            left -= len(chosen)
            if chosen:
                yield chosen
            if left == 0:
                return
        raise self._changed(self.uri)

    def clips(self) -> Iterator[Clip]:
        """The clips in the order of the manifest, read again; see `rows`."""
        for rows in self.rows():
            for row in rows:
                yield row.clip()

    def _changed(self, place: str) -> ManifestError:
        return ManifestError([Problem("", "the manifest as it was checked", "another one", file=place)])


def read_manifest(
    uri: str,
    *,
    stride: int = 1,
    keep_columns: Sequence[str] = (),
    limit: int | None = None,
    reserved: Iterable[str] = (),
    in_process: bool = False,
) -> Manifest:
    """Check a manifest as a whole; logs one warning that lists the columns it ignores.

    Args:
        uri: JSON Lines, Parquet or CSV, a folder or a glob of such files; local or `s3://`.
        stride: Every n-th frame is tracked; init frames have to be among them.
        keep_columns: Columns whose values the clips carry on.
        limit: Only the first so many clips count; what comes after them is not read.
        reserved: Names that no kept column may have, because the output's table has its own of that name.
        in_process: Read here and not by Ray Data: for tools and tests that have no Ray.

    Raises:
        ManifestError: Up to 20 problems at once.
        StorageError: The storage cannot be read.
    """
    options = ReadOptions(stride, tuple(dict.fromkeys(keep_columns)))
    taken = CLIP_COLUMNS.union(reserved).intersection(options.keep)
    if taken:
        expected = "a column to keep that the clips table does not have anyway"
        raise ManifestError([Problem(name, expected, show(name), file=uri) for name in sorted(taken)])
    files = tuple(list_manifest(uri))
    total = _check(files, options, limit, in_process)
    if not total.problems:
        total.problems += _duplicates(files, options, total, in_process)
    if not total.problems and total.clips == 0:
        total.problems.append(Problem("", "1 clip or more", "none", file=uri))
    summary = _summary(uri, files, options, total)
    if total.problems:
        raise ManifestError(total.problems)
    if summary.unknown_columns:
        logger.warning("%s: ignored the unknown columns %s", storage.redact(uri), ", ".join(summary.unknown_columns))
    return Manifest(uri, summary, total.hashes, files, options, in_process)


@dataclass(slots=True)
class _Total:
    clips: int = 0
    objects: int = 0
    frames: int = 0
    open_clips: int = 0
    hashes: ClipHashes = field(default_factory=ClipHashes)
    problems: list[Problem] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    seen: dict[str, list[Seen]] = field(default_factory=dict)

    def add(self, report: PieceReport, base: int) -> None:
        file = report.piece.file.uri
        self.clips += report.clips
        self.objects += report.objects
        self.frames += report.frames
        self.open_clips += report.open_clips
        self.hashes.add(report.digests)
        self.columns |= report.columns
        for problem in report.problems:
            row = None if problem.row is None else problem.row + base
            placed = replace(problem, row=row, file=file)
            if placed not in self.problems:  # a fault of a file's schema comes from each of its pieces
                self.problems.append(placed)
        for name, entries in report.seen.items():
            known = self.seen.setdefault(name, [])
            for entry in entries:
                if all(entry.type != other.type for other in known):
                    known.append(Seen(entry.type, None if entry.row is None else entry.row + base, file))


def _check(files: tuple[ManifestFile, ...], options: ReadOptions, limit: int | None, in_process: bool) -> _Total:
    total = _Total()
    base = 0
    file = files[0]
    read = partial(_check_one, options=options, most=limit)
    for report in _run(files, read, in_process):
        if limit is not None and total.clips + report.clips > limit:
            report = check_piece(report.piece, options, limit - total.clips)
        if report.piece.file != file:
            file, base = report.piece.file, 0
        total.add(report, base)
        base += report.rows
        if len(total.problems) >= MAX_PROBLEMS or total.clips == limit:
            break
    return total


def _check_one(piece: ManifestPiece, options: ReadOptions, most: int | None) -> Iterator[PieceReport]:
    yield check_piece(piece, options, most)


def _rows(files: tuple[ManifestFile, ...], options: ReadOptions, in_process: bool) -> Iterator[list[ClipRow]]:
    base = 0
    file = files[0]
    for piece, clips, rows in _run(files, partial(read_piece, options=options), in_process):
        if piece.file != file:
            file, base = piece.file, 0
        if clips:
            yield [clip._replace(row=clip.row + base) for clip in clips] if base else clips
        base += rows


def _run(
    files: Iterable[ManifestFile], read: Callable[[ManifestPiece], Iterable[Item]], in_process: bool
) -> Iterator[Item]:
    pieces = cut(files)
    if in_process:
        return (item for piece in pieces for item in read(piece))
    from pipeline.manifest.source import read_pieces

    return read_pieces(batches(pieces), read)


def _duplicates(
    files: tuple[ManifestFile, ...], options: ReadOptions, total: _Total, in_process: bool
) -> list[Problem]:
    """The clips whose id an earlier one has; the manifest is read again for their rows, as none were kept."""
    doubled = total.hashes.duplicates(_MOST_DUPLICATES)
    problems: list[Problem] = []
    first: dict[str, str] = {}
    left = total.clips if doubled else 0
    for rows in _rows(files, options, in_process) if doubled else ():
        for row in rows[:left]:
            if digest(row.clip_id, row.clip_hash)[:10] not in doubled:
                continue
            place = first.setdefault(row.clip_id, row.place)
            if place != row.place:
                expected = f"an id that no other clip has ({place} has it)"
                problems.append(Problem("clip_id", expected, show(row.clip_id), row.row, row.file))
                if len(problems) == MAX_PROBLEMS:
                    return problems
        left -= len(rows[:left])
        if left == 0:
            break
    return problems


def _summary(uri: str, files: tuple[ManifestFile, ...], options: ReadOptions, total: _Total) -> ManifestSummary:
    fields = []
    for name in options.keep:
        result = kept_columns.unify(name, total.seen.get(name, []))
        if isinstance(result, Problem):
            total.problems.append(result)
        elif name not in total.columns and name not in total.seen and not total.problems:
            names = ", ".join(sorted(total.columns))
            total.problems.append(Problem(name, "a column of this name to keep", f"the columns {names}", file=uri))
        else:
            fields.append(pa.field(name, result))
    return ManifestSummary(
        len(files),
        total.clips,
        total.objects,
        total.frames,
        total.open_clips,
        tuple(unknown(total.columns, options.keep)),
        pa.schema(fields),
    )
