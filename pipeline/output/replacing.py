"""Rows of changed clips that take the places of the old ones, which can be cut off anywhere.

The changed clips are run into a folder of their own, `_runs/replacing/`, with `masks` and `clips` like an output. No
reader looks there, and a run that is killed finds there what was done. Once all of them have ended:

1. The note `_runs/replace.json` says that they are to take their places. From here on whoever holds the lease next
   finishes it.
2. New rows whose status is another than the old row's go into clips parts of their own, since a part's name says the
   status of its clips. Where a clip has two rows, readers take that of the part whose name comes first, and the names
   of these begin with a z: the old row counts until it is gone.
3. For each clips part with a changed clip, a masks part is uploaded with the new rows of its changed clips and the
   old ones of the others; then the clips part is overwritten, on condition that it is as it was read, with rows that
   name it. That is one object: a reader sees all of its old rows or all of its new ones.
4. The folder and the note are deleted. The old masks parts are orphans now, which `remove_orphans` removes.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output.merge import local_masks, merged_rows
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, RUNS_FOLDER, ClipsPart, masks_part_name
from pipeline.output.parts import list_parts, read_parts
from pipeline.output.schema import STATUSES, merged_metadata, parquet_bytes
from pipeline.output.spool import write_masks


def staging_uri(output: str) -> str:
    """The folder in which clips wait to take the places of those that changed."""
    return storage.join(output, RUNS_FOLDER, "replacing")


def note_replacement(output: str) -> None:
    """Step 1: the clips that wait are all that changed. Raises StorageError."""
    storage.write_bytes(_note_uri(output), json.dumps({"id": uuid.uuid4().hex[:12]}).encode())


def forget_staged(output: str) -> None:
    """Delete the clips that wait. Raises StorageError."""
    storage.delete_many([entry.uri for entry in storage.list_files(staging_uri(output))])


def finish_replacing(output: str, check: Callable[[], None] = lambda: None) -> int:
    """Steps 2 to 4 of the replacement that the note tells of, from wherever it was cut off.

    Only the holder of the output's lease may call it.

    Args:
        output: the output folder.
        check: called before every step; raises where the lease is lost.

    Returns:
        How many clips have new rows by this call.

    Raises:
        StorageError: the store failed; call it again.
    """
    try:
        note = json.loads(storage.read_bytes(_note_uri(output)))
    except storage.NotFound:
        return 0
    with tempfile.TemporaryDirectory(prefix="siammask-replace-") as scratch:
        count = _Replacement.of(output, Path(scratch), check).switch(str(note["id"]))
    check()
    forget_staged(output)
    check()
    storage.delete_many([_note_uri(output)])
    return count


def _note_uri(output: str) -> str:
    return storage.join(output, RUNS_FOLDER, "replace.json")


@dataclass(slots=True)
class _Replacement:
    """The clips that wait: their rows, by status, and the masks part of each."""

    output: str
    scratch: Path
    check: Callable[[], None]
    rows: pa.Table
    place: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, output: str, scratch: Path, check: Callable[[], None]) -> _Replacement:
        contents = [content for _, content in read_parts(list_parts(staging_uri(output))) if content is not None]
        rows = pa.concat_tables([content.rows for content in contents]) if contents else pa.table({"clip_id": []})
        place = {clip_id: row for row, clip_id in enumerate(rows["clip_id"].to_pylist())}
        return cls(output, scratch, check, rows, place)

    def switch(self, name: str) -> int:
        """Steps 2 and 3."""
        listed = [item for item in list_parts(self.output) if item.part.shard != _shard(name)]
        affected: list[tuple[ClipsPart, list[str]]] = []
        moved: dict[str, list[str]] = {}
        for item, content in read_parts(listed, ["clip_id", "clip_hash"]):
            if content is None:
                continue
            changed = self._changed(content.rows)
            if changed:
                affected.append((item.part, changed))
            for clip_id in changed:
                if (status := self._value(clip_id, "status")) != item.part.status:
                    moved.setdefault(status, []).append(clip_id)
        for status in STATUSES:
            if status in moved:
                self._move(ClipsPart(_shard(name), 0, status), moved[status])
        for part, changed in affected:
            self._overwrite(part, changed)
        return sum(len(changed) for _, changed in affected)

    def _changed(self, rows: pa.Table) -> list[str]:
        """The clips of a part that one of another hash waits for."""
        return [
            clip_id
            for clip_id, clip_hash in zip(rows["clip_id"].to_pylist(), rows["clip_hash"].to_pylist(), strict=True)
            if clip_id in self.place and self._value(clip_id, "clip_hash") != clip_hash
        ]

    def _value(self, clip_id: str, column: str) -> str:
        return self.rows[column][self.place[clip_id]].as_py()

    def _taken(self, clip_ids: list[str]) -> pa.Table:
        return self.rows.take([self.place[clip_id] for clip_id in clip_ids])

    def _move(self, part: ClipsPart, clip_ids: list[str]) -> None:
        """Step 2, of one status."""
        uri = storage.join(self.output, CLIPS_FOLDER, part.name)
        if storage.exists(uri):
            return
        rows = self._named(self._taken(clip_ids), part.shard, None, set(), clip_ids)
        self.check()
        storage.create(uri, parquet_bytes(rows))

    def _overwrite(self, part: ClipsPart, changed: list[str]) -> None:
        """Step 3, of one clips part."""
        uri = storage.join(self.output, CLIPS_FOLDER, part.name)
        versioned = storage.read_versioned(uri)
        with storage.reporting(uri, "read"):
            old = pq.read_table(pa.BufferReader(versioned.data))
        kept = old.filter(pc.invert(pc.is_in(old["clip_id"], pa.array(changed, pa.string()))))
        new = [clip_id for clip_id in changed if self._value(clip_id, "status") == part.status]
        if not kept.num_rows and not new:
            self.check()
            storage.delete_many([uri])
            return
        taken = self._taken(new).cast(old.schema.remove_metadata())
        whole = pa.concat_tables([kept.replace_schema_metadata(None), taken]).sort_by("clip_id")
        names = [name for name in pc.unique(kept["masks_part"]).to_pylist() if name is not None]
        rows = self._named(whole, part.shard, names, set(kept["clip_id"].to_pylist()), new)
        metadata = merged_metadata([old.schema, self.rows.schema])
        self.check()
        if storage.replace(uri, parquet_bytes(rows.replace_schema_metadata(metadata)), versioned.version) is None:
            raise storage.StorageError(uri, "replace", "changed by somebody else", "run the same command again")

    def _named(
        self, rows: pa.Table, shard: str, old_parts: list[str] | None, kept: set[str], new: list[str]
    ) -> pa.Table:
        """Upload a masks part with the old rows of some clips and the new ones of others; `rows` that name it."""
        has_masks = pc.is_valid(rows["masks_part"])
        staged = {self._value(clip_id, "masks_part") for clip_id in new} - {None}
        sources = [(self.output, name, kept) for name in old_parts or ()]
        sources += [(staging_uri(self.output), name, set(new)) for name in sorted(staged)]
        name = masks_part_name(shard)
        if sources:
            local = self.scratch / name
            copies = [local_masks(output, source, self.scratch) for output, source, _ in sources]
            try:
                metadata = merged_metadata([pq.read_schema(path) for path in copies])
                write_masks(local, merged_rows(copies, [clips for *_, clips in sources]), metadata)
                storage.upload_file(local, storage.join(self.output, MASKS_FOLDER, name))
            finally:
                for path in [local, *copies]:
                    if path.parent == self.scratch:
                        path.unlink(missing_ok=True)
        place = rows.schema.get_field_index("masks_part")
        named = pc.if_else(has_masks, pa.scalar(name, pa.string()), pa.scalar(None, pa.string()))
        return rows.set_column(place, rows.schema.field(place), named)


def _shard(name: str) -> str:
    return f"zr{name}"
