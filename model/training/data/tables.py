"""The tables that training reads: `sequences`, one row a video or picture, and `masks`, one row a frame and object.

The folder of a set holds `sequences.parquet` and `masks.parquet`; each may be a folder of Parquet files instead.
Paths in `sequences` are relative to that folder, or absolute. docs/training.md describes the columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from model.masks.rle import decode

_SIDES = ("x", "y", "w", "h")

SEQUENCES = pa.schema(
    {
        "sequence": pa.string(),
        "split": pa.string(),
        "video": pa.string(),
        "images": pa.list_(pa.string()),
        "frames": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "fps": pa.float64(),
        **{side: pa.float64() for side in _SIDES},
    }
)
"""One row a sequence: `video` or `images` is set. A still is a sequence of one image. x, y, w, h: the init box."""

MASKS = pa.schema(
    {
        "sequence": pa.string(),
        "split": pa.string(),
        "frame_index": pa.int64(),
        "object_id": pa.string(),
        "category": pa.string(),
        "mask": pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()}),
        "box": pa.struct({side: pa.float64() for side in _SIDES}),
        "area": pa.int64(),
    }
)
"""One row an annotated frame and object: `mask` (COCO RLE), or `box` where there is no mask."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of one object in one frame: its COCO RLE, or its box x, y, w, h in pixels."""

    rle: Mapping[str, Any] | None
    box: tuple[float, float, float, float] | None

    def mask(self) -> np.ndarray | None:
        """uint8 [H, W] of 0 and 1; None where only the box is known. ValueError where it cannot be read."""
        return None if self.rle is None else decode_rle(self.rle)


Frames = dict[int, dict[str, Annotation]]
"""Annotations by frame index and object."""


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """COCO RLE {"size": [h, w], "counts": str} to a mask uint8 [h, w] of 0 and 1.

    Raises:
        ValueError: it is none.
    """
    try:
        return decode(dict(rle))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a mask is no COCO RLE ({error!r})") from error


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask [h, w] as COCO RLE with text counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def table_path(folder: Path, name: str) -> Path:
    """`folder`/name.parquet or the folder `folder`/name; FileNotFoundError naming both where there is neither."""
    for path in (folder / f"{name}.parquet", folder / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder}: holds neither {name}.parquet nor a folder {name} of Parquet files")


def table_parts(folder: Path) -> list[Path]:
    """The Parquet files of a table that is a folder, by name."""
    return sorted(path for path in folder.rglob("*.parquet") if is_table_part(str(path.relative_to(folder))))


def is_table_part(path: str) -> bool:
    """Whether a file at `path` inside a table's folder is a part of it: Parquet, and neither hidden nor temporary."""
    return path.endswith(".parquet") and not any(name.startswith((".", "_")) for name in path.split("/"))


def read_table(
    folder: Path, name: str, required: Collection[str], conditions: Mapping[str, Collection[str]]
) -> pa.Table:
    """The rows of a table that meet `conditions` (allowed values by column; columns that it lacks do not count).

    Raises:
        FileNotFoundError: there is no table.
        ValueError: a file of it cannot be read, or a required column is missing; names file and column.
    """
    path = table_path(folder, name)
    files = table_parts(path) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: holds no Parquet file")
    for file in files:
        try:
            pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{file}: not a readable Parquet file ({error})") from error
    dataset = ds.dataset([str(file) for file in files], format="parquet")
    if missing := [column for column in required if column not in dataset.schema.names]:
        raise ValueError(f"{path}: has no column {missing[0]!r}; it has {', '.join(dataset.schema.names)}")
    chosen: Any = None
    for column, values in conditions.items():
        if column in dataset.schema.names:
            condition = pc.is_in(pc.field(column), pa.array(sorted(values), pa.string()))
            chosen = condition if chosen is None else chosen & condition
    return dataset.to_table(filter=chosen)


def read_sequences(folder: Path, split: str | None = None, names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows of `sequences`, by name: those of one split where it is given, those named where any are.

    Raises:
        ValueError: a row has neither video nor images, or a name occurs twice; names file and sequence.
    """
    conditions: dict[str, Collection[str]] = {"split": [split]} if split else {}
    if names:
        conditions["sequence"] = names
    rows = read_table(folder, "sequences", ("sequence",), conditions).to_pylist()
    rows.sort(key=lambda row: row["sequence"])
    path = table_path(folder, "sequences")
    for row in rows:
        if not row.get("video") and not row.get("images"):
            raise ValueError(f"{path}: sequence {row['sequence']} has no video and no images")
    for row, following in pairwise(rows):
        if following["sequence"] == row["sequence"]:
            raise ValueError(f"{path}: sequence {row['sequence']} has more than one row")
    return rows


class Annotations:
    """The rows of `masks` by sequence. They are held as Arrow and turned into Python a sequence at a time."""

    def __init__(self, folder: Path, split: str | None = None, names: Collection[str] = ()) -> None:
        conditions: dict[str, Collection[str]] = {"split": [split]} if split else {}
        if names:
            conditions["sequence"] = names
        self._path = table_path(folder, "masks")
        table = read_table(folder, "masks", ("sequence", "frame_index", "object_id"), conditions)
        wanted = ("sequence", "frame_index", "object_id", "mask", "box")
        table = table.select([name for name in wanted if name in table.schema.names])
        self._rows: dict[str, pa.Table] = {}
        order = pc.sort_indices(table, sort_keys=[("sequence", "ascending"), ("frame_index", "ascending")])
        table = table.take(order)
        names_in_order = table.column("sequence").to_numpy(zero_copy_only=False)
        changes = np.flatnonzero(names_in_order[1:] != names_in_order[:-1]) + 1
        edges = [0, *changes.tolist(), len(table)] if len(table) else []
        for start, end in pairwise(edges):
            self._rows[str(names_in_order[start])] = table.slice(start, end - start)

    def of(self, sequence: str) -> Frames:
        """A sequence's annotations; empty where it has none.

        Raises:
            ValueError: a row has neither mask nor box; names file, sequence, frame and object.
        """
        frames: Frames = defaultdict(dict)
        table = self._rows.get(sequence)
        for row in table.to_pylist() if table is not None else ():
            rle, box = row.get("mask"), row.get("box")
            if rle is not None and rle.get("counts") is None:
                rle = None
            if box is not None and any(box.get(side) is None for side in _SIDES):
                box = None
            if rle is None and box is None:
                raise ValueError(
                    f"{self._path}: sequence {sequence}, frame {row['frame_index']}, object {row['object_id']} "
                    "has neither mask nor box"
                )
            sides = None if box is None else (box["x"], box["y"], box["w"], box["h"])
            frames[int(row["frame_index"])][str(row["object_id"])] = Annotation(rle, sides)
        return dict(frames)


class TableWriter:
    """Writes both tables of a set row by row; they appear, whole, when the block ends without an error."""

    _BATCH = 4096

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, list[dict[str, Any]]] = {"sequences": [], "masks": []}
        self._files: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> TableWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, schema in (("sequences", SEQUENCES), ("masks", MASKS)):
            self._files[name] = pq.ParquetWriter(self._partial(name), schema, compression="zstd")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for name in self._files:
            self._flush(name)
            self._files[name].close()
        for name in self._files:
            if kind is None:
                self._partial(name).replace(self.folder / f"{name}.parquet")
            else:
                self._partial(name).unlink()

    def sequence(self, **row: Any) -> None:
        """Add a row of `sequences`."""
        self._add("sequences", row)

    def masks(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of `masks`."""
        for row in rows:
            self._add("masks", dict(row))

    def _add(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name].append(row)
        if len(self._rows[name]) >= self._BATCH:
            self._flush(name)

    def _flush(self, name: str) -> None:
        schema = SEQUENCES if name == "sequences" else MASKS
        self._files[name].write_table(pa.Table.from_pylist(self._rows[name], schema=schema))
        self._rows[name].clear()

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.parquet.partial"
