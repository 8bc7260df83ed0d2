"""Parts of the output: how clips are committed so that each has one row, and what is found and mended later.

A commit writes `masks/part-<shard>-<attempt>.parquet`, then `clips/part-<shard>-<n>.parquet`, which names the
former in `masks_part` and is the commit. Failed and partial clips go into parts of their own (`-failed`,
`-partial` at the end of the name), so that they can be forgotten by deleting files.

Two attempts at one shard may be alive at once. Each reads the shard's clips parts, drops the clips that are in
them, puts its own part under the next number by a conditional put, and looks again: a part that it had not seen
makes it withdraw its own and begin anew. Of two attempts at least one looks when both parts are there.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output import lease
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, ClipsPart, masks_part_name
from pipeline.output.schema import (
    STATUSES,
    MaskRow,
    clips_array,
    clips_schema,
    clips_table,
    parquet_bytes,
    part_metadata,
)
from pipeline.output.spool import Spool
from pipeline.storage.retry import retrying

_ONE_TRY = storage.Settings(retry_s=0.0, connect_timeout_s=5.0, read_timeout_s=10.0)


class PartWriter:
    """Collects the clips of one shard and commits those that are finished. Safe for several threads.

    The run must hold the output's lease. Usable as a context manager, which removes the local files.

    Args:
        output: URI of the output folder.
        shard: the shard's name.
        run_id: the run that commits.
        config_hash: what the results depend on.
        scratch: a local folder for the waiting rows.
        keep_types: the kept manifest columns with their types.
        attempt: which try at these clips this is, for the `clips` table.
        leased: URI of the output whose lease the run holds, where it is another than `output`.

    Raises:
        ValueError: a kept column is named like one of the table's own, or the shard's name is unusable.
    """

    def __init__(
        self,
        output: str,
        shard: str,
        *,
        run_id: str,
        config_hash: str,
        scratch: Path,
        keep_types: Mapping[str, pa.DataType] | None = None,
        attempt: int = 1,
        leased: str | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", shard):
            raise ValueError(f"the shard's name {shard!r} must match [A-Za-z0-9._-]{{1,100}}")
        self._output, self._shard, self._run_id, self._leased = output, shard, run_id, leased or output
        self._common = {"run_id": run_id, "config_hash": config_hash, "attempt": attempt}
        self._metadata = part_metadata(run_id, config_hash)
        self._schema = clips_schema(keep_types or {}).with_metadata(self._metadata)
        self._folder = Path(tempfile.mkdtemp(prefix="part-", dir=scratch))
        self._spool = Spool(self._folder)
        self._lock, self._committing = threading.Lock(), threading.Lock()
        self._finished: dict[str, dict[str, Any]] = {}
        self._seen: dict[storage.Entry, tuple[str, ...]] = {}

    @property
    def scratch(self) -> Path:
        """The local folder of what waits for the commit; it goes with `close`."""
        return self._folder

    def add_rows(self, clip_id: str, rows: Iterable[MaskRow]) -> None:
        """Takes mask rows of a clip that is not finished; those of one object in the order of their frames.

        Raises:
            ValueError: a frame of an object came twice or out of order.
            StorageError: the scratch disk is full or broken.
        """
        self._spool.add(clip_id, rows)

    def finish_clip(self, row: Mapping[str, Any], *, keep_rows: bool) -> None:
        """Takes the `clips` row of a clip, which is then ready to be committed.

        Args:
            row: values by column name, kept columns among them; `masks_part`, `run_id`, `config_hash` and,
                where absent, `attempt` are filled in.
            keep_rows: False drops the clip's mask rows, as for every failed clip.

        Raises:
            ValueError: the row does not fit the table, or a failed clip would keep rows.
        """
        full = {**self._common, **row}
        clips_array([full], self._schema)
        clip_id = full["clip_id"]
        if keep_rows == (full["status"] == "failed"):
            raise ValueError(f"clip {clip_id}: {full['status']!r} with keep_rows={keep_rows}; failed clips have none")
        if keep_rows:
            self._spool.finish(clip_id)
        else:
            self._spool.discard(clip_id)
        with self._lock:
            if clip_id in self._finished:
                raise ValueError(f"clip {clip_id} was finished twice")
            self._finished[clip_id] = full

    def discard_clip(self, clip_id: str) -> None:
        """Drops what has come of a clip that will not be finished."""
        self._spool.discard(clip_id)

    def committed_clips(self) -> set[str]:
        """Clips of this shard that are committed, by this or an earlier attempt. Raises StorageError."""
        with self._committing:
            self._look()
            return self._taken()

    def commit(self) -> int:
        """Commits the clips finished so far, one part a status; may be called again and again.

        Returns:
            How many clips this call committed. Those that another attempt had committed before are dropped.

        Raises:
            LeaseLost: this run does not hold the output any more; nothing of this call's last part remains.
            StorageError: the store failed. Clips that were not committed stay finished, to be tried again.
        """
        with self._committing:
            with self._lock:
                ready = dict(self._finished)
            return sum(
                self._commit_status(status, {k: row for k, row in ready.items() if row["status"] == status})
                for status in STATUSES
            )

    def close(self) -> None:
        """Removes the local files; what is not committed is gone."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit_status(self, status: str, rows: dict[str, dict[str, Any]]) -> int:
        while rows:
            number = self._look()
            taken = self._taken()
            self._done(rows.keys() & taken)
            rows = {clip_id: row for clip_id, row in rows.items() if clip_id not in taken}
            if rows and self._put(ClipsPart(self._shard, number, status), rows):
                self._done(rows)
                return len(rows)
        return 0

    def _put(self, part: ClipsPart, rows: dict[str, dict[str, Any]]) -> bool:
        """Tries to commit as this part; False where another attempt was first, which leaves nothing of it."""
        masks = masks_part_name(self._shard)
        masks_uri = storage.join(self._output, MASKS_FOLDER, masks)
        counts = self._upload_masks(rows, self._folder / masks, masks_uri)
        named = [{**rows[clip_id], "masks_part": masks if clip_id in counts else None} for clip_id in sorted(rows)]
        uri = storage.join(self._output, CLIPS_FOLDER, part.name)
        data = parquet_bytes(clips_table(named, self._schema))
        try:
            # Where the store fails from here on, both files stay: the part may stand, and the next look tells.
            won = self._create(uri, data) and self._alone(part)
            if won:
                lease.require(self._leased, self._run_id)
                return True
        except lease.LeaseLost:
            with contextlib.suppress(storage.StorageError):
                self._withdraw(uri, data, masks_uri)
            raise
        self._withdraw(uri, data, masks_uri)
        time.sleep(random.uniform(0.05, 0.5))
        return False

    def _upload_masks(self, clip_ids: Iterable[str], local: Path, uri: str) -> dict[str, int]:
        try:
            counts = self._spool.assemble(clip_ids, local, self._metadata)
            if counts:
                storage.upload_file(local, uri)
            return counts
        finally:
            local.unlink(missing_ok=True)

    def _create(self, uri: str, data: bytes) -> bool:
        """The conditional put, with a look at the lease before every try and not only before the first."""

        def once() -> bool:
            lease.require(self._leased, self._run_id, _ONE_TRY)
            # The bytes hold this attempt's own names and times: equal ones are an earlier try's that arrived.
            return storage.create(uri, data, _ONE_TRY) is not None or _content(uri) == data

        return retrying(uri, "commit", storage.Settings.from_environment().retry_s, once)

    def _withdraw(self, uri: str, data: bytes, masks_uri: str) -> None:
        if _content(uri) == data:
            storage.delete_many([uri])
        storage.delete_many([masks_uri])

    def _alone(self, part: ClipsPart) -> bool:
        """Whether the shard has no clips part but this one and those seen before."""
        return all(entry in self._seen or clips_part == part for clips_part, entry in self._listed())

    def _look(self) -> int:
        """Reads the shard's clips parts that are new; returns the next number."""
        while True:
            listed = self._listed()
            # By name, size and time: a part may have been withdrawn and its name taken by another attempt.
            self._seen = {entry: self._seen[entry] for _, entry in listed if entry in self._seen}
            try:
                for _, entry in listed:
                    if entry not in self._seen:
                        self._seen[entry] = _clip_ids(entry.uri)
            except storage.NotFound:  # withdrawn since it was listed
                continue
            return max((part.number for part, _ in listed), default=-1) + 1

    def _listed(self) -> list[tuple[ClipsPart, storage.Entry]]:
        entries = storage.list_files(self._output, f"{CLIPS_FOLDER}/part-{self._shard}-")
        named = ((ClipsPart.parse(storage.name(entry.uri)), entry) for entry in entries)
        return [(part, entry) for part, entry in named if part is not None and part.shard == self._shard]

    def _taken(self) -> set[str]:
        return {clip_id for clips in self._seen.values() for clip_id in clips}

    def _done(self, clip_ids: Iterable[str]) -> None:
        for clip_id in clip_ids:
            self._spool.discard(clip_id)
            with self._lock:
                self._finished.pop(clip_id, None)


def _clip_ids(uri: str) -> tuple[str, ...]:
    data = storage.read_bytes(uri)
    with storage.reporting(uri, "read"):
        return tuple(pq.read_table(pa.BufferReader(data), columns=["clip_id"])["clip_id"].to_pylist())


def _content(uri: str) -> bytes | None:
    try:
        return storage.read_bytes(uri)
    except storage.NotFound:
        return None
