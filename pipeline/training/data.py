"""Training data on a node: sets from anywhere as local files, and the store that batches are made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.options import UsageError

_TABLES = ("sequences", "masks")
_DOWNLOADS = 8


def default_cache() -> Path:
    """Where a node keeps sets and stores: below TMPDIR."""
    return Path(tempfile.gettempdir()) / "siammask-training"


def check_set(uri: str) -> None:
    """Raise UsageError, naming the URI, where there is no training set."""
    try:
        at = storage.parse(uri)
        if at.is_local:
            from model.training.sources import find_sets

            find_sets([Path(at.key)])
            return
        for name in _TABLES:
            table_files(uri, name)
    except storage.StorageError as error:
        raise UsageError(f"--data: {error}") from error
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--data {error}") from error


def table_files(uri: str, name: str) -> list[storage.Entry]:
    """The Parquet files of a table of a set; FileNotFoundError where there is none."""
    for entries in (storage.list_files(uri, f"{name}.parquet"), storage.list_files(uri, f"{name}/")):
        found = sorted((one for one in entries if one.uri.endswith(".parquet")), key=lambda one: one.uri)
        if found:
            return found
    raise FileNotFoundError(f"{uri}: holds neither {name}.parquet nor a folder {name} of Parquet files")


def local_set(uri: str, cache: Path, split: str, names: Collection[str] = ()) -> Path:
    """A folder on this node with a set's tables and files: the set's own where everything in it is local.

    Elsewhere, the files of `split` (of the sequences `names`, where given) are copied to the cache first; what an
    earlier run has copied is not copied again.

    Raises:
        StorageError: a table or file cannot be read; names it.
    """
    at = storage.parse(uri)
    if at.is_local and not _names_objects(Path(at.key)):
        return Path(at.key)
    key = hashlib.sha256(f"{at.uri} {split} {sorted(names)}".encode()).hexdigest()[:16]
    folder = cache / "sets" / key / (posixpath.basename(at.uri) or "set")
    folder.mkdir(parents=True, exist_ok=True)
    tables = {name: _fetch_table(at.uri, name, folder) for name in _TABLES}
    rows = [row for row in tables["sequences"].to_pylist() if row.get("split", split) == split]
    rows = [row for row in rows if not names or row["sequence"] in names]
    wanted = dict.fromkeys(path for row in rows for path in _paths(row))
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        local = dict(zip(wanted, pool.map(lambda path: _fetch(at.uri, path, folder), wanted), strict=True))
    for row in rows:
        row["video"] = local.get(row.get("video"))
        row["images"] = [local[path] for path in row.get("images") or ()] or None
    schema = tables["sequences"].schema
    for field in (pa.field("video", pa.string()), pa.field("images", pa.list_(pa.string()))):
        if field.name not in schema.names:
            schema = schema.append(field)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "sequences.parquet")
    pq.write_table(tables["masks"], folder / "masks.parquet")
    return folder


def node_store(
    data: Sequence[str], cache: Path, *, split: str, stride: int, longest_side: int, say: Callable[[str], None]
) -> Path:
    """The training store of these sets on this node, decoded where an earlier run has not.

    Raises:
        StorageError, ValueError: a table, video or picture cannot be read; names it.
    """
    from model.training.sources import all_pictures, find_sets
    from model.training.store import INDEX, write_store

    shape = json.dumps([_state(uri) for uri in data] + [split, stride, longest_side])
    folder = cache / "stores" / hashlib.sha256(shape.encode()).hexdigest()[:16]
    if (folder / INDEX).exists():
        return folder
    sets = find_sets([local_set(uri, cache, split) for uri in data])
    say(f"decoding {', '.join(one.name for one in sets)} into {folder}")
    (cache / "stores").mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=cache / "stores"))
    try:
        found = all_pictures(sets, split=split, stride=stride)
        pictures, objects = write_store(found, partial, longest_side=longest_side)
        # Another run on this node may have been quicker; its store is the same.
        with contextlib.suppress(OSError):
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"{pictures} pictures with {objects} objects")
    return folder


def _state(uri: str) -> list[Any]:
    """What changes when the tables of a set do."""
    at = storage.parse(uri)
    if not at.is_local:
        return [[one.uri, one.size, str(one.modified)] for name in _TABLES for one in table_files(uri, name)]
    from model.training.sources import find_sets

    tables = [path for one in find_sets([Path(at.key)]) for path in _local_tables(one.folder)]
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(set(tables))]


def _local_tables(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.parquet")
    for name in _TABLES:
        yield from (folder / name).glob("**/*.parquet")


def _names_objects(folder: Path) -> bool:
    """Whether the sequences of a local set lie in object storage."""
    try:
        files = table_files(str(folder), "sequences")
    except FileNotFoundError:
        return False
    columns = [name for name in ("video", "images") if all(name in pq.read_schema(one.uri).names for one in files)]
    rows = [row for one in files for row in pq.read_table(one.uri, columns=columns).to_pylist()]
    return any("://" in path for row in rows for path in _paths(row))


def _paths(row: dict[str, Any]) -> list[str]:
    return [row["video"]] if row.get("video") else list(row.get("images") or ())


def _fetch_table(uri: str, name: str, folder: Path) -> pa.Table:
    parts = []
    for number, one in enumerate(table_files(uri, name)):
        path = folder / f".{name}-{number}.part"
        storage.download(one.uri, path)
        parts.append(pq.read_table(path))
        path.unlink()
    return pa.concat_tables(parts, promote_options="default")


def _fetch(base: str, path: str, folder: Path) -> str:
    """A file of a set as a local path, fetched into `folder` unless it is there."""
    uri = storage.resolve(base, path)
    at = storage.parse(uri)
    if at.is_local:
        return at.key
    target = folder / "files" / hashlib.sha256(uri.encode()).hexdigest()[:24]
    target = target.with_suffix(Path(at.key).suffix)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        storage.download(uri, target)
    return str(target)
