"""Merge the small parts of an output into fewer, larger ones.

Parts are merged with others of the same status alone, so that `--retry-failed` still finds failed and partial clips in
parts of their own. One group after the other is merged, each as `pipeline.merge` says.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipeline import lease, storage
from pipeline.clips_parts import clips_parts
from pipeline.interrupt import interruptible, signal_name
from pipeline.merge import Merge, finish_merge, note, upload_merged_masks
from pipeline.options import UsageError
from pipeline.part_names import MASKS_FOLDER
from pipeline.recovery import remove_orphans

log = logging.getLogger(__name__)

MOST_PARTS = 256
FINISHED, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class CompactOptions:
    """What `jobs/compact.py` was asked to do.

    Attributes:
        output: the output folder.
        target_bytes: about the size of a merged part; parts of more than half of it stay as they are.
        wait_for_lease: seconds to wait for a run that holds the output.
        dry_run: say what would be merged, change nothing.
    """

    output: str
    target_bytes: int = 256 << 20
    wait_for_lease: float = 120.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.target_bytes < 1:
            raise UsageError(f"--target-bytes {self.target_bytes}: expected 1 or more")
        if self.wait_for_lease < 0:
            raise UsageError(f"--wait-for-lease {self.wait_for_lease}: expected 0 seconds or more")


@dataclass(frozen=True, slots=True)
class SmallPart:
    """A clips part and its masks part, small enough to be merged.

    Attributes:
        kind: parts of the same kind can be merged: status and schema.
        first: its first clip's id.
        clips: its name; `masks` are those of its masks parts, one at most but for a merge that was cut off.
        size: bytes of all these files.
    """

    kind: tuple[str, str]
    first: str
    clips: str
    masks: tuple[str, ...]
    size: int

    @property
    def status(self) -> str:
        """Of all its clips."""
        return self.kind[0]


def compact(options: CompactOptions) -> int:
    """Merge small parts; returns the exit status (0, 1 or 130).

    Raises:
        UsageError: exit status 2: the output is unusable, or another run holds it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    with interruptible():
        try:
            output = _usable(options.output)
            if options.dry_run:
                _tell(plan(output, options.target_bytes))
                return FINISHED
            run_id = f"compact-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
            with lease.acquire(output, run_id, options.wait_for_lease):
                return _merge_all(output, run_id, options.target_bytes)
        except KeyboardInterrupt:
            said = "the tables are right, the rest is as it was"
            print(f"interrupted by {signal_name()}: {said}", file=sys.stderr, flush=True)
            return INTERRUPTED
        except lease.LeaseHeld as error:
            raise UsageError(f"--output {storage.redact(options.output)}: {error}") from error
        except (storage.StorageError, lease.LeaseLost) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return FAILED


def plan(output: str, target_bytes: int) -> list[list[SmallPart]]:
    """Groups of small parts to merge: neighbours by clip id, so that a merged part covers few ids.

    A group has at most `MOST_PARTS` parts and about `target_bytes`; merging until there is no group left ends.
    """
    groups: list[list[SmallPart]] = []
    for part in sorted(_small(output, target_bytes // 2), key=lambda one: (one.kind, one.first, one.clips)):
        last = groups[-1] if groups else []
        fits = len(last) < MOST_PARTS and sum(one.size for one in last) + part.size <= target_bytes
        if last and last[0].kind == part.kind and fits:
            last.append(part)
        else:
            groups.append([part])
    return [group for group in groups if len(group) > 1]


def _small(output: str, most_bytes: int) -> Iterator[SmallPart]:
    sizes = {storage.name(entry.uri): entry.size for entry in storage.list_files(output, f"{MASKS_FOLDER}/")}
    for part, entry, table in clips_parts(output):
        masks = tuple(sorted(set(table["masks_part"].to_pylist()) - {None}))
        size = entry.size + sum(sizes.get(name, 0) for name in masks)
        if size <= most_bytes and len(table):
            first = min(table["clip_id"].to_pylist())
            yield SmallPart((part.status, str(table.schema.remove_metadata())), first, part.name, masks, size)


def _merge_all(output: str, run_id: str, target_bytes: int) -> int:
    held = partial(lease.require, output, run_id)
    merged: list[list[SmallPart]] = []
    try:
        remove_orphans(output)
        while groups := plan(output, target_bytes):
            for group in groups:
                _merge(output, group, held)
                merged.append(group)
    except KeyboardInterrupt:
        # What is noted is finished, what is not noted is dropped: the plain glob is right then.
        with contextlib.suppress(storage.StorageError, lease.LeaseLost):
            held()
            remove_orphans(output)
        raise
    _tell(merged)
    return FINISHED


def _merge(output: str, group: Sequence[SmallPart], held: partial[None]) -> None:
    old_masks = [name for part in group for name in part.masks]
    merge = Merge.of(group[0].status, [part.clips for part in group], old_masks)
    with tempfile.TemporaryDirectory(prefix="siammask-compact-") as scratch:
        upload_merged_masks(output, merge, Path(scratch))
    held()
    note(output, merge)
    finish_merge(output, held)


def _usable(uri: str) -> str:
    try:
        storage.Settings.from_environment()
        output = storage.parse(uri).uri
        storage.require_reachable(output)
        if next(clips_parts(output), None) is None:
            raise UsageError(f"--output {storage.redact(output)}: it has no part in its folder clips; correct it")
        return output
    except (storage.StorageError, ValueError) as error:
        raise UsageError(f"--output: {error}") from error


def _tell(groups: Sequence[Sequence[SmallPart]]) -> None:
    clips = sum(len(group) for group in groups)
    masks = sum(len(part.masks) for group in groups for part in group)
    size = sum(part.size for group in groups for part in group)
    print(f"{clips} clips parts and {masks} masks parts, {size / 1e6:.1f} MB, in {len(groups)} merges", flush=True)
