"""What an output holds already: the finished clips, and what killed runs left that has to go.

Only the holder of the output's lease may remove anything here, and only while none of its own actors commits:
before the work begins, and at the end after `Lease.fence`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from pipeline import storage
from pipeline.clip_hashes import DIGEST_BYTES, ID_BYTES
from pipeline.output.index import IndexedPart, OutputIndex, hashes_of, status_of
from pipeline.output.merge import finish_merge
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, is_masks_part
from pipeline.output.replacing import finish_replacing
from pipeline.output.schema import STATUSES

log = logging.getLogger(__name__)

_MOST_DOUBLED = 1_000_000


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


def forget_failed(index: OutputIndex, will_run: Callable[[bytes], bool]) -> Forgotten:
    """Deletes the parts of failed and partial clips, so that these clips are missing again.

    Their masks parts become orphans: call `remove_orphans` next. A part with a clip that will not be run again stays,
    since its row would be lost.

    Args:
        index: of the output, as it is now.
        will_run: whether all of these clips, by their digests, will be run again.
    """
    gone, attempt = [], 0
    for name, part in index.of_status("failed", "partial"):
        if will_run(part.digests):
            gone.append(name)
            attempt = max(attempt, part.attempt)
        else:
            count = len(part.digests) // DIGEST_BYTES
            log.warning("%s has clips that this run does not: its %d clips are not run again", name, count)
    index.delete(gone)
    return Forgotten(len(gone), attempt)


def remove_orphans(index: OutputIndex, *, until: float = math.inf) -> Removed:
    """Removes what no commit stands behind: masks parts that no clips part names, and unfinished files.

    A merge of parts that was cut off (see `pipeline.output.merge`), and a replacement of clips
    (`pipeline.output.replacing`), are finished first.

    Two things that only a run cut off at a bad moment can leave are mended too: a clips part whose masks part
    is gone, and one that repeats a clip of another part. They are deleted; clips that no other part has are missing.

    Args:
        index: of the output; it is current afterwards.
        until: a time of `time.monotonic` after which nothing more is looked for or removed; what is left is for
            the next run to remove.
    """
    output = index.output
    finish_merge(output)
    finish_replacing(output)
    folders = [storage.join(output, name) for name in (MASKS_FOLDER, CLIPS_FOLDER)]
    unfinished = sum(storage.abort_uploads(folder) for folder in folders)
    # The masks parts are listed before the clips parts: one that is committed in between is no orphan.
    masks = {
        name
        for entry in storage.list_files(output, f"{MASKS_FOLDER}/")
        if is_masks_part(name := storage.name(entry.uri))
    }
    if not index.refresh(until=until):
        return Removed(0, 0, unfinished)
    broken = [name for name, part in index.parts.items() if _lacks_masks(output, name, part, masks)]
    broken += _repeated(index, set(broken))
    given_up = set(broken)
    named = {masks for name, part in index.parts.items() if name not in given_up for masks in part.masks}
    # In this order: a clips part never outlives its masks part by a cut in between.
    clips_gone = _delete(broken, index.delete, until)
    masks_gone = _delete(
        masks - named, lambda names: storage.delete_many(_masks_uri(output, name) for name in names), until
    )
    return Removed(masks_gone, clips_gone, unfinished)


def _lacks_masks(output: str, name: str, part: IndexedPart, masks: Set[str]) -> bool:
    """Whether a masks part that the clips part names is gone."""
    absent = [masks_name for masks_name in part.masks if masks_name not in masks]
    absent = [masks_name for masks_name in absent if not storage.exists(_masks_uri(output, masks_name))]
    if absent:
        log.warning("removing %s: %s are gone", name, absent)
    return bool(absent)


def _repeated(index: OutputIndex, broken: Set[str]) -> list[str]:
    """Clips parts to give up so that no clip has two rows.

    Two attempts at a clip may have committed it under two shards' names: a shard whose actor was cut off, and the clip
    alone. Of two parts the one with fewer clips goes, so that the fewest clips, most often none, are missing then.
    """
    sound = {name: part for name, part in index.parts.items() if name not in broken}
    doubled = (hashes_of(sound.values()) if broken else index.hashes).duplicates(_MOST_DOUBLED)
    if not doubled:
        return []
    candidates = []
    for name, part in sound.items():
        ids = {part.digests[i : i + ID_BYTES] for i in range(0, len(part.digests), DIGEST_BYTES)} & doubled
        if ids:
            candidates.append((-len(part.digests), STATUSES.index(status_of(name)), name, ids))
    kept: set[bytes] = set()
    gone: list[str] = []
    for *_, name, ids in sorted(candidates, key=lambda candidate: candidate[:3]):
        if ids & kept:
            log.warning("removing %s: another part has a clip of it", name)
            gone.append(name)
        else:
            kept |= ids
    return gone


def _delete(names: Iterable[str], delete: Callable[[Sequence[str]], None], until: float) -> int:
    """Delete files in groups for as long as there is time; how many."""
    left = iter(names)
    count = 0
    while time.monotonic() < until and (group := list(islice(left, 64))):
        delete(group)
        count += len(group)
    return count


def _masks_uri(output: str, name: str) -> str:
    return storage.join(output, MASKS_FOLDER, name)
