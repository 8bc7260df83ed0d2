"""One part made of several: the files, and the switch from the old ones to the new, which can be cut off anywhere.

The rows move in steps of one object each, and the order of the steps is the guarantee:

1. The merged masks part is uploaded. No row of `clips` names it yet, so a join does not see it.
2. The note `_runs/merge.json` says what is to become of what. From here on whoever holds the lease next finishes it.
3. Each clips part is overwritten with the same rows, which now name the merged masks part.
4. The merged clips part is created, then the old clips parts are deleted. In between, a clip may have two rows that are
   the same in every column.
5. The old masks parts and the note are deleted.

So every clip has a row at every moment, and all rows of a clip name one masks part, which has all of its mask rows: a
semi-join of `masks` with `clips` on clip and masks part is right at any moment. A plain glob is right again once the
merge is finished, by this process or by the next run.
"""

from __future__ import annotations

import heapq
import json
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, RUNS_FOLDER, ClipsPart, masks_part_name
from pipeline.output.schema import MASKS, masks_columns, merged_metadata, parquet_bytes
from pipeline.output.spool import write_masks

_AT_ONCE = 16
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge under way.

    Attributes:
        clips: name of the merged clips part.
        masks: name of the merged masks part; None where no clip has mask rows.
        old_clips, old_masks: names of the parts that it takes the place of.
    """

    clips: str
    masks: str | None
    old_clips: tuple[str, ...]
    old_masks: tuple[str, ...]

    @classmethod
    def of(cls, status: str, old_clips: Sequence[str], old_masks: Sequence[str]) -> Merge:
        """A merge into parts of new names."""
        shard = f"merged-{uuid.uuid4().hex[:12]}"
        masks = masks_part_name(shard) if old_masks else None
        return cls(ClipsPart(shard, 0, status).name, masks, tuple(old_clips), tuple(old_masks))


def note_uri(output: str) -> str:
    """Where the note of a merge under way lies."""
    return storage.join(output, RUNS_FOLDER, "merge.json")


def upload_merged_masks(output: str, merge: Merge, scratch: Path) -> None:
    """Step 1. Memory is bounded by the size of the merged file, not by the number of rows.

    Args:
        output: the output folder.
        merge: what to merge.
        scratch: local folder for copies of the old masks parts and the merged one.

    Raises:
        StorageError: a part cannot be read or written; names it.
    """
    if merge.masks is None:
        return

    merged = scratch / merge.masks
    copies: list[Path] = []
    try:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            copies = list(pool.map(lambda name: local_masks(output, name, scratch), merge.old_masks))
        write_masks(merged, merged_rows(copies), merged_metadata([pq.read_schema(path) for path in copies]))
        storage.upload_file(merged, storage.join(output, MASKS_FOLDER, merge.masks))
    finally:
        for path in [merged, *copies]:
            if path.parent == scratch:
                path.unlink(missing_ok=True)


def local_masks(output: str, name: str, scratch: Path) -> Path:
    """A masks part as a local file: where it lies, or downloaded into `scratch`. Raises StorageError."""
    location = storage.parse(storage.join(output, MASKS_FOLDER, name))
    if location.is_local:
        return Path(location.key)
    storage.download(location.uri, scratch / name)
    return scratch / name


def merged_rows(paths: Sequence[Path], clips: Sequence[Container[str]] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of masks parts, sorted by clip, object and frame as each part's are. A clip's rows are in one part.

    Args:
        paths: the parts.
        clips: of each part the clips that are taken; all where it is None.
    """
    runs = [_runs(path) for path in paths]
    if clips is not None:
        runs = [_of_clips(run, wanted) for run, wanted in zip(runs, clips, strict=True)]
    waiting = [(first[0], number, first[1]) for number, run in enumerate(runs) if (first := next(run, None))]
    heapq.heapify(waiting)
    while waiting:
        _, number, batch = waiting[0]
        yield batch
        following = next(runs[number], None)
        if following is None:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (following[0], number, following[1]))


def _of_clips(
    runs: Iterator[tuple[str, pa.RecordBatch]], wanted: Container[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    return ((clip_id, rows) for clip_id, rows in runs if clip_id in wanted)


def _runs(path: Path) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of a masks part, in batches of one clip each with the clip's id."""
    with storage.reporting(str(path), "read"), pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            rows = pa.RecordBatch.from_arrays(masks_columns(batch), schema=MASKS)
            encoded = pc.run_end_encode(rows["clip_id"])
            start = 0
            for clip_id, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
                yield clip_id, rows.slice(start, end - start)
                start = end


def note(output: str, merge: Merge) -> None:
    """Step 2. From here on the merge is finished, by this process or by the next holder of the lease."""
    storage.write_bytes(note_uri(output), json.dumps(asdict(merge), indent=1).encode())


def finish_merge(output: str, check: Callable[[], None] = lambda: None) -> bool:
    """Steps 3 to 5 of the merge that the note tells of, from wherever it was cut off; False where there is no note.

    Only the holder of the output's lease may call it.

    Args:
        output: the output folder.
        check: called before every step; raises where the lease is lost.

    Raises:
        StorageError: the store failed; call it again.
    """
    try:
        known = json.loads(storage.read_bytes(note_uri(output)))
    except storage.NotFound:
        return False
    merge = Merge(known["clips"], known["masks"], tuple(known["old_clips"]), tuple(known["old_masks"]))
    merged = storage.join(output, CLIPS_FOLDER, merge.clips)
    if storage.exists(merged) or _switch(output, merge, merged, check):
        check()
        storage.delete_many(storage.join(output, CLIPS_FOLDER, name) for name in merge.old_clips)
        check()
        storage.delete_many(storage.join(output, MASKS_FOLDER, name) for name in merge.old_masks)
    check()
    storage.delete_many([note_uri(output)])
    return True


def _switch(output: str, merge: Merge, merged: str, check: Callable[[], None]) -> bool:
    """Step 3, and the merged clips part; False where the merged masks part is gone, so that there is nothing to do."""
    if merge.masks is not None and not storage.exists(storage.join(output, MASKS_FOLDER, merge.masks)):
        return False

    def one(name: str) -> pa.Table | None:
        return _renamed(storage.join(output, CLIPS_FOLDER, name), merge.masks, check)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="switch") as pool:
        tables = [table for table in pool.map(one, merge.old_clips) if table is not None]
    if tables:
        check()
        whole = pa.concat_tables(tables).sort_by("clip_id")
        metadata = merged_metadata([table.schema for table in tables])
        storage.create(merged, parquet_bytes(whole.replace_schema_metadata(metadata)))
    return bool(tables)


def _renamed(uri: str, masks: str | None, check: Callable[[], None]) -> pa.Table | None:
    """Makes the rows of a clips part name another masks part, in the store too; None where the part is gone."""
    try:
        versioned = storage.read_versioned(uri)
    except storage.NotFound:
        return None
    with storage.reporting(uri, "read"):
        table = pq.read_table(pa.BufferReader(versioned.data))
    names = table["masks_part"]
    place = table.schema.get_field_index("masks_part")
    renamed = pc.if_else(pc.is_null(names), names, pa.scalar(masks, pa.string()))
    if not renamed.equals(names):
        table = table.set_column(place, table.schema.field(place), renamed)
        check()
        if storage.replace(uri, parquet_bytes(table), versioned.version) is None:
            raise storage.StorageError(uri, "merge", "changed by somebody else", "run the same command again")
    return table
