"""Ground truth masks from our own tables: a folder with `masks.parquet`, read a sequence at a time.

A frame is annotated when the table has a row for it, of any object; an object without a row there is not to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from model.training.data.tables import is_table_part
from pipeline import storage
from pipeline.errors import UsageError

_NEEDED = ("sequence", "frame_index", "object_id", "mask")

Frames = dict[int, dict[str, Mapping[str, Any]]]
"""COCO RLE by frame index and object id, frames in order."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Masks of the sequences of one split; made by `open_truth`.

    Attributes:
        uri: the table.
        objects: ids of a sequence's objects with their category, "" where the table has none; sequences in order.
    """

    uri: str
    objects: dict[str, dict[str, str]]
    _rows: ds.Dataset = field(repr=False)

    def frames(self, sequence: str) -> Frames:
        """The annotated frames of a sequence, in order.

        Raises:
            UsageError: a row has no mask, or two rows are of one frame and object; names them.
            StorageError: the table cannot be read.
        """
        numbered = pa.types.is_integer(self._rows.schema.field("sequence").type)
        with storage.reporting(self.uri, "read"):
            rows = self._rows.filter(pc.field("sequence") == (int(sequence) if numbered else sequence))
            table = rows.to_table(columns=list(_NEEDED[1:]))
        by_frame: Frames = {}
        for row in table.sort_by("frame_index").to_pylist():
            where = f"{self.uri}: sequence {sequence}, frame {row['frame_index']}, object {row['object_id']}"
            if row["mask"] is None or row["mask"].get("counts") is None or row["mask"].get("size") is None:
                raise UsageError(f"{where} has no mask: only masks can be judged")
            objects = by_frame.setdefault(row["frame_index"], {})
            if str(row["object_id"]) in objects:
                raise UsageError(f"{where} has two rows")
            objects[str(row["object_id"])] = row["mask"]
        return by_frame


def open_truth(folder: str, *, split: str | None = None, names: tuple[str, ...] = ()) -> Truth:
    """Open the truth of a folder, local or in object storage: `masks.parquet`, or `masks/` with files `*.parquet`.

    Args:
        split: only this one; None where the table has no splits or one.
        names: only these sequences.

    Raises:
        UsageError: no such table, it lacks a column, split or sequence, or it has several splits and none is named.
        StorageError: the table cannot be read.
    """
    uri = storage.join(storage.parse(folder).uri, "masks.parquet")
    files = [uri]
    if not storage.exists(uri):
        uri = storage.join(storage.parse(folder).uri, "masks")
        files = sorted(entry.uri for entry in storage.list_files(uri) if is_table_part(entry.uri.removeprefix(uri)))
        if not files:
            raise UsageError(f"--truth {folder}: holds neither masks.parquet nor a folder masks of files *.parquet")
    filesystem, _ = storage.filesystem_for(uri)
    with storage.reporting(uri, "read"):
        paths = [storage.filesystem_for(file)[1] for file in files]
        rows = ds.dataset(paths, filesystem=filesystem, format="parquet")
        if missing := [name for name in _NEEDED if name not in rows.schema.names]:
            raise UsageError(f"{uri}: has no column {missing[0]!r}; it has {', '.join(rows.schema.names)}")
        if "split" in rows.schema.names:
            rows = _of_split(rows, uri, split)
        elif split is not None:
            raise UsageError(f"--split {split}: {uri} has no column 'split'")
        columns = [name for name in ("sequence", "object_id", "category") if name in rows.schema.names]
        known = rows.to_table(columns=columns).group_by(columns).aggregate([])
    objects: dict[str, dict[str, str]] = {}
    for row in known.sort_by([("sequence", "ascending"), ("object_id", "ascending")]).to_pylist():
        if row["sequence"] is None:
            raise UsageError(f"{uri}: a row has no sequence")
        objects.setdefault(str(row["sequence"]), {})[str(row["object_id"])] = row.get("category") or ""
    if unknown := sorted(set(names) - set(objects)):
        raise UsageError(f"--names {','.join(unknown)}: not in {uri}")
    return Truth(uri, {name: objects[name] for name in objects if not names or name in names}, rows)


def _of_split(rows: ds.Dataset, uri: str, split: str | None) -> ds.Dataset:
    splits = sorted(str(name) for name in pc.unique(rows.to_table(columns=["split"])["split"]).to_pylist())
    if split is None and len(splits) > 1:
        raise UsageError(f"{uri} has the splits {', '.join(splits)}: say which with --split")
    if split is not None and split not in splits:
        raise UsageError(f"--split {split}: {uri} has {', '.join(splits) or 'no rows'}")
    return rows if split is None else rows.filter(pc.field("split") == split)
