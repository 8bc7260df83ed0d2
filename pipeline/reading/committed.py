"""Which files of an output count: what its clips parts name, as two Arrow datasets.

A masks part counts where a row of `clips` names it; anything else in `masks/` is of a commit under way or was left by
a killed run. Two attempts at one shard that are cut off at a bad moment can leave a clip with two rows: the first one,
by the parts' names, is taken, as the next run will take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from pipeline import storage
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, RUNS_FOLDER, ClipsPart
from pipeline.output.schema import CLIPS, MASKS
from pipeline.reading.errors import NoSuchRun

PART = "_part"
"""A column that the datasets have and no file: the number of the row's file."""

_FORMAT = ds.ParquetFileFormat()


@dataclass(frozen=True)
class Committed:
    """What was committed in an output when it was listed.

    Attributes:
        output: URI of the output folder.
        clips_parts: names of the clips parts, in the order in which they count.
    """

    output: str
    clips_parts: tuple[str, ...]

    @classmethod
    def in_output(cls, output: str) -> Committed:
        """Lists an output.

        Raises:
            NoSuchRun: there is none at this URI.
            StorageError: the folder cannot be listed.
        """
        names = (storage.name(entry.uri) for entry in storage.list_files(output, f"{CLIPS_FOLDER}/"))
        parts = [part for name in names if (part := ClipsPart.parse(name)) is not None]
        if not parts and next(storage.list_files(output, f"{RUNS_FOLDER}/"), None) is None:
            raise NoSuchRun(
                f"{storage.redact(output)} holds no run, since it has no {CLIPS_FOLDER}/part-….parquet: "
                "give the folder that jobs/segment.py had as --output"
            )
        parts.sort(key=lambda part: (part.shard, part.number, part.status))
        return cls(output, tuple(part.name for part in parts))

    @cached_property
    def index(self) -> pa.Table:
        """Columns clip_id, status, masks_part and `_part`, one row a clip, in the order of the parts."""
        return self._rows if pc.all(self._is_first).as_py() else self._rows.filter(self._is_first)

    @cached_property
    def masks_parts(self) -> tuple[str, ...]:
        """Names of the masks parts that count, sorted."""
        return tuple(sorted(name for name in pc.unique(self.index["masks_part"]).to_pylist() if name is not None))

    @cached_property
    def clips(self) -> ds.Dataset:
        """One row a clip, with `_part`, the place of its file in `clips_parts`."""
        repeated: dict[int, list[str]] = {}
        for row in self._repeated:
            repeated.setdefault(row[PART], []).append(row["clip_id"])
        return _without(self._every_clip, repeated)

    @cached_property
    def masks(self) -> ds.Dataset:
        """The rows of `masks` that count, with `_part`, the place of their file in `masks_parts`."""
        number = {name: i for i, name in enumerate(self.masks_parts)}
        named = self.index.group_by("masks_part").aggregate([("clip_id", "min"), ("clip_id", "max")])
        held = {row["masks_part"]: row for row in named.to_pylist()}
        within = [
            (pc.field("clip_id") >= held[name]["clip_id_min"]) & (pc.field("clip_id") <= held[name]["clip_id_max"])
            for name in self.masks_parts
        ]
        repeated: dict[int, list[str]] = {}
        for row in self._repeated:
            if row["masks_part"] in number:
                repeated.setdefault(number[row["masks_part"]], []).append(row["clip_id"])
        filesystem, folder = storage.filesystem_for(storage.join(self.output, MASKS_FOLDER))
        return _without(_dataset(filesystem, folder, self.masks_parts, MASKS, within), repeated)

    def in_masks_of(self, clip_ids: Sequence[str]) -> pc.Expression:
        """The condition on `masks` that keeps the files of these clips, so that no other file is opened."""
        rows = self.index.filter(pc.field("clip_id").isin(pa.array(clip_ids, pa.string())))
        names = set(rows["masks_part"].to_pylist())
        numbers = [number for number, name in enumerate(self.masks_parts) if name in names]
        return pc.field(PART).isin(pa.array(numbers, pa.int32()))

    @cached_property
    def _every_clip(self) -> ds.Dataset:
        """The rows of all clips parts; a clip may have two."""
        filesystem, folder = storage.filesystem_for(storage.join(self.output, CLIPS_FOLDER))
        schema = CLIPS
        if self.clips_parts:  # all parts of an output have the same kept columns
            path = f"{folder}/{self.clips_parts[0]}"
            with storage.reporting(storage.join(self.output, CLIPS_FOLDER, self.clips_parts[0]), "read"):
                schema = _FORMAT.make_fragment(path, filesystem).physical_schema.remove_metadata()
        return _dataset(filesystem, folder, self.clips_parts, schema)

    @cached_property
    def _rows(self) -> pa.Table:
        with storage.reporting(storage.join(self.output, CLIPS_FOLDER), "read"):
            return self._every_clip.to_table(columns=["clip_id", "status", "masks_part", PART]).combine_chunks()

    @cached_property
    def _is_first(self) -> pa.Array:
        number = pa.array(range(self._rows.num_rows))
        first = self._rows.append_column("row", number).group_by("clip_id").aggregate([("row", "min")])
        return pc.is_in(number, first["row_min"].combine_chunks())

    @cached_property
    def _repeated(self) -> list[dict[str, Any]]:
        """The rows of clips that an earlier part has."""
        if self.index is self._rows:
            return []
        return self._rows.filter(pc.invert(self._is_first)).to_pylist()


def _dataset(
    filesystem: fs.FileSystem,
    folder: str,
    names: Iterable[str],
    schema: pa.Schema,
    within: Sequence[pc.Expression] = (),
) -> ds.Dataset:
    """Files with their number as `_part`; `within` says what holds for each file's rows, so that it may stay closed."""
    fragments = []
    for number, name in enumerate(names):
        known = pc.field(PART) == pa.scalar(number, pa.int32())
        known = known & within[number] if within else known
        fragments.append(_FORMAT.make_fragment(f"{folder}/{name}", filesystem, partition_expression=known))
    whole = schema.append(pa.field(PART, pa.int32()))
    return ds.FileSystemDataset(fragments, whole, _FORMAT, filesystem)


def _without(dataset: ds.Dataset, rows: dict[int, list[str]]) -> ds.Dataset:
    """The dataset less some clips of some files."""
    for number, clip_ids in rows.items():
        in_file = pc.field(PART) == pa.scalar(number, pa.int32())
        dataset = dataset.filter(~(in_file & pc.field("clip_id").isin(clip_ids)))
    return dataset
