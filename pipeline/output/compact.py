"""Merge the small parts of an output into fewer, larger ones.

Parts are merged with others of the same status alone, so that `--retry-failed` still finds failed and partial clips in
parts of their own. One group after the other is merged, each as `pipeline.output.merge` says.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.job import FINISHED, run_job
from pipeline.output import lease
from pipeline.output.index import OutputIndex
from pipeline.output.merge import Merge, finish_merge, note, upload_merged_masks
from pipeline.output.names import MASKS_FOLDER
from pipeline.output.parts import list_parts, read_parts
from pipeline.output.recovery import remove_orphans
from pipeline.output.schema import version_of

log = logging.getLogger(__name__)

MOST_PARTS = 256


@dataclass(frozen=True, slots=True)
class CompactOptions:
    """What `jobs/compact.py` was asked to do."""

    output: Annotated[str, Option(help="Folder of the tables.", metavar="URI")]
    target_bytes: Annotated[
        int, Option(help="About the size of a merged part; parts of more than half of it stay.")
    ] = 256 << 20
    wait_for_lease: Annotated[float, Option(help="Seconds to wait for a run that holds the output.")] = 120.0
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be merged, change nothing.")] = False

    def __post_init__(self) -> None:
        if self.target_bytes < 1:
            raise UsageError(f"--target-bytes {self.target_bytes}: expected 1 or more")
        if self.wait_for_lease < 0:
            raise UsageError(f"--wait-for-lease {self.wait_for_lease}: expected 0 seconds or more")


@dataclass(frozen=True, slots=True)
class SmallPart:
    """A clips part and its masks part, small enough to be merged.

    Attributes:
        kind: parts of the same kind can be merged: status, and version with schema.
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
    return run_job(
        lambda: _compact(options),
        interrupted="interrupted by {signal}: the tables are right, the rest is as it was",
        expected=(storage.StorageError, lease.LeaseLost),
        log_level=logging.WARNING,
    )


def _compact(options: CompactOptions) -> int:
    output = _usable(options.output)
    if options.dry_run:
        _tell(plan(output, options.target_bytes))
        return FINISHED
    run_id = f"compact-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    try:
        held = lease.acquire(output, run_id, options.wait_for_lease)
    except lease.LeaseHeld as error:
        raise UsageError(f"--output {storage.redact(options.output)}: {error}") from error
    with held:
        return _merge_all(output, run_id, options.target_bytes)


def plan(output: str, target_bytes: int) -> list[list[SmallPart]]:
    """Groups of small parts to merge: neighbours by clip id, so that a merged part covers few ids.

    A group has at most `MOST_PARTS` parts and about `target_bytes`; merging until there is no group left ends.
    """
    groups: list[list[SmallPart]] = []
    for part in sorted(_small(output, target_bytes // 2), key=lambda small: (small.kind, small.first, small.clips)):
        last = groups[-1] if groups else []
        fits = len(last) < MOST_PARTS and sum(small.size for small in last) + part.size <= target_bytes
        if last and last[0].kind == part.kind and fits:
            last.append(part)
        else:
            groups.append([part])
    return [group for group in groups if len(group) > 1]


def _small(output: str, most_bytes: int) -> Iterator[SmallPart]:
    sizes = {storage.name(entry.uri): entry.size for entry in storage.list_files(output, f"{MASKS_FOLDER}/")}
    for listed, content in read_parts(list_parts(output), ["clip_id", "masks_part"]):
        if content is None or not len(content.rows):
            continue
        part = listed.part
        schema = f"{version_of(content.schema)}\n{content.schema.remove_metadata()}"
        masks = tuple(sorted(set(content.rows["masks_part"].to_pylist()) - {None}))
        size = listed.entry.size + sum(sizes.get(name, 0) for name in masks)
        if size <= most_bytes:
            first = min(content.rows["clip_id"].to_pylist())
            yield SmallPart((part.status, schema), first, part.name, masks, size)


def _merge_all(output: str, run_id: str, target_bytes: int) -> int:
    held = partial(lease.require, output, run_id)
    merged: list[list[SmallPart]] = []
    try:
        remove_orphans(OutputIndex(output))
        while groups := plan(output, target_bytes):
            for group in groups:
                _merge(output, group, held)
                merged.append(group)
    except KeyboardInterrupt:
        # What is noted is finished, what is not noted is dropped: the plain glob is right then.
        with contextlib.suppress(storage.StorageError, lease.LeaseLost):
            held()
            remove_orphans(OutputIndex(output))
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
        if not list_parts(output):
            raise UsageError(f"--output {storage.redact(output)}: it has no part in its folder clips; correct it")
        return output
    except (storage.StorageError, ValueError) as error:
        raise UsageError(f"--output: {error}") from error


def _tell(groups: Sequence[Sequence[SmallPart]]) -> None:
    clips = sum(len(group) for group in groups)
    masks = sum(len(part.masks) for group in groups for part in group)
    size = sum(part.size for group in groups for part in group)
    print(f"{clips} clips parts and {masks} masks parts, {size / 1e6:.1f} MB, in {len(groups)} merges", flush=True)
