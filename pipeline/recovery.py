"""What an output holds already: the finished clips, and what killed runs left that has to go.

Only the holder of the output's lease may remove anything here, and only while none of its own actors commits:
before the work begins, and at the end after `Lease.fence`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from pipeline import storage
from pipeline.clips_parts import list_parts, read_parts
from pipeline.manifest.ids import DIGEST_BYTES, ClipHashes, digest
from pipeline.merge import finish_merge
from pipeline.part_names import CLIPS_FOLDER, MASKS_FOLDER, is_masks_part
from pipeline.tables import CLIPS, STATUSES

log = logging.getLogger(__name__)

_MOST_DOUBLED = 1_000_000


@dataclass(frozen=True, slots=True)
class FinishedClip:
    """A clip that has its row."""

    clip_id: str
    clip_hash: str
    config_hash: str
    status: str
    masks_part: str | None


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_orphans` removed: numbers of masks parts, clips parts and unfinished files."""

    masks_parts: int
    clips_parts: int
    unfinished: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget_failed` deleted: how many clips parts, and the highest attempt that their rows had (0: none)."""

    parts: int
    attempt: int


def finished(output: str) -> Iterator[FinishedClip]:
    """The clips that have a row in `<output>/clips`, as a stream in the order of the parts' names.

    Raises:
        StorageError: a part cannot be read; names it.
    """
    for batch in clip_rows(output, ["clip_id", "clip_hash", "config_hash", "status", "masks_part"]):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield FinishedClip(*values)


def clip_rows(output: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of `<output>/clips` as a stream of batches; several parts are read at once, few are held.

    Raises:
        StorageError: a part cannot be read; names it.
    """
    for _, table in read_parts(list_parts(output), columns):
        yield from table.to_batches()


def kept_columns(output: str) -> dict[str, pa.DataType] | None:
    """The kept manifest columns of an output that has parts, else None.

    All parts of a table must agree on them, so a run into the same output has to keep the same.
    """
    part = next(list_parts(output), None)
    if part is None:
        return None
    _, table = next(read_parts([part], None))
    return {field.name: field.type for field in table.schema if field.name not in CLIPS.names}


def forget_failed(output: str, mine: Callable[[Sequence[tuple[str, str]]], bool]) -> Forgotten:
    """Deletes the parts of failed and partial clips, so that these clips are missing again.

    Their masks parts become orphans: call `remove_orphans` next. A part with a clip that will not be run again stays,
    since its row would be lost.

    Args:
        output: the output folder.
        mine: whether all of these clips, by id and hash, will be run again.
    """
    gone, attempt = [], 0
    parts = (found for found in list_parts(output) if found[0].status != "ok")
    for part, table in read_parts(parts, ["clip_id", "clip_hash", "attempt"]):
        clips = list(zip(table["clip_id"].to_pylist(), table["clip_hash"].to_pylist(), strict=True))
        if mine(clips):
            gone.append(part.name)
            attempt = max(attempt, *table["attempt"].to_pylist())
        else:
            log.warning("%s has clips that this run does not: its %d clips are not run again", part.name, len(clips))
    storage.delete_many(storage.join(output, CLIPS_FOLDER, name) for name in gone)
    return Forgotten(len(gone), attempt)


def remove_orphans(output: str, *, until: float = math.inf) -> Removed:
    """Removes what no commit stands behind: masks parts that no clips part names, and unfinished files.

    A merge of parts that was cut off (see `pipeline.merge`) is finished first.

    Two things that only a run cut off at a bad moment can leave are mended too: a clips part whose masks part
    is gone, and one that repeats a clip of another part. They are deleted; clips that no other part has are missing.

    Args:
        output: URI of the output folder.
        until: a time of `time.monotonic` after which nothing more is looked for or removed; what is left is for
            the next run to remove.
    """
    finish_merge(output)
    folders = [storage.join(output, name) for name in (MASKS_FOLDER, CLIPS_FOLDER)]
    unfinished = sum(storage.abort_uploads(folder) for folder in folders)
    masks = {
        name
        for entry in storage.list_files(output, f"{MASKS_FOLDER}/")
        if is_masks_part(name := storage.name(entry.uri))
    }
    named: Counter[str] = Counter()
    clips = ClipHashes()
    broken: list[str] = []
    for part, table in read_parts(list_parts(output), ["clip_id", "masks_part"]):
        if time.monotonic() >= until:
            return Removed(0, 0, unfinished)
        names = set(table["masks_part"].to_pylist()) - {None}
        absent = [name for name in names - masks if not storage.exists(_masks_uri(output, name))]
        if absent:
            log.warning("removing %s: %s are gone", part.name, absent)
            broken.append(part.name)
        else:
            named.update(names)
            clips.add(_ids(table))
    if clips.duplicates(1):
        repeated = _repeated(output, clips.duplicates(_MOST_DOUBLED), set(broken))
        broken += repeated
        named -= Counter(name for names in repeated.values() for name in names)
    # In this order: a clips part never outlives its masks part by a cut in between.
    clips_gone = _delete((storage.join(output, CLIPS_FOLDER, name) for name in broken), until)
    masks_gone = _delete((_masks_uri(output, name) for name in masks - named.keys()), until)
    return Removed(masks_gone, clips_gone, unfinished)


def _repeated(output: str, doubled: set[bytes], broken: Collection[str]) -> dict[str, set[str]]:
    """Clips parts to give up so that no clip has two rows, with the masks parts that they name.

    Two attempts at a clip may have committed it under two shards' names: a shard whose actor was cut off, and the clip
    alone. Of two parts the one with fewer clips goes, so that the fewest clips, most often none, are missing then.
    """
    found = []
    for part, table in read_parts(list_parts(output), ["clip_id", "masks_part"]):
        ids = _ids(table)
        ours = {one for i in range(0, len(ids), DIGEST_BYTES) if (one := ids[i : i + 10]) in doubled}
        if ours and part.name not in broken:
            masks = set(table["masks_part"].to_pylist()) - {None}
            found.append((-len(table), STATUSES.index(part.status), part.name, ours, masks))
    kept: set[bytes] = set()
    gone: dict[str, set[str]] = {}
    for *_, name, ours, masks in sorted(found, key=lambda one: one[:3]):
        if ours & kept:
            log.warning("removing %s: another part has a clip of it", name)
            gone[name] = masks
        else:
            kept |= ours
    return gone


def _ids(table: pa.Table) -> bytes:
    return b"".join(digest(clip_id, "0" * 12) for clip_id in table["clip_id"].to_pylist())


def _delete(uris: Iterable[str], until: float) -> int:
    chosen = iter(uris)
    count = 0
    while time.monotonic() < until and (some := list(islice(chosen, 64))):
        storage.delete_many(some)
        count += len(some)
    return count


def _masks_uri(output: str, name: str) -> str:
    return storage.join(output, MASKS_FOLDER, name)
