"""Whether a run has the objects that are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER
from pipeline.reading.committed import Committed
from pipeline.reading.errors import NoSuchObject

_SHOWN = 10


def check_objects(committed: Committed, object_ids: Sequence[str], clip_ids: Sequence[str] | None) -> None:
    """Check that each object is one of a run's, or of these clips of it.

    Reads `clips.tracks` until all are found; an output of version 0.1.0, which has no such column, is asked for the ids
    in `masks`.

    Raises:
        NoSuchObject: an object has no row of `masks`; names some that have.
        StorageError: the table cannot be read.
    """
    missing, known = set(object_ids), set[str]()
    for ids in _object_ids(committed, clip_ids):
        known.update(ids)
        missing -= known
        if not missing:
            return
    absent = min(missing)
    where = storage.redact(committed.output) if clip_ids is None else f"the clip(s) {_named(sorted(set(clip_ids)))}"
    near = difflib.get_close_matches(absent, sorted(known), n=1)
    raise NoSuchObject(
        f"no mask of an object {absent!r} in {where}: "
        + (f"there are {_named(sorted(known))}" if known else "there are none at all")
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def _object_ids(committed: Committed, clip_ids: Sequence[str] | None) -> Iterator[list[str]]:
    """The ids of objects that have masks, batch by batch."""
    dataset = committed.clips
    has_tracks = "tracks" in dataset.schema.names
    if not has_tracks:
        dataset = committed.masks
        if clip_ids is not None:
            dataset = dataset.filter(committed.in_masks_of(clip_ids))
    if clip_ids is not None:
        dataset = dataset.filter(pc.field("clip_id").isin(pa.array(clip_ids, pa.string())))
    with storage.reporting(storage.join(committed.output, CLIPS_FOLDER if has_tracks else MASKS_FOLDER), "read"):
        for batch in dataset.to_batches(columns=["tracks" if has_tracks else "object_id"]):
            values = batch.column(0)
            yield pc.unique(values.flatten().field("object_id") if has_tracks else values).to_pylist()


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    return ", ".join(map(repr, ids[:_SHOWN])) + more
