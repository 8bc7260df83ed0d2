"""Training sets from anywhere as local files: their tables, and the videos and pictures that these name."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.training.data.tables import is_table_part, table_parts
from pipeline import storage
from pipeline.errors import UsageError
from pipeline.storage.locks import locked
from pipeline.training.cache import by_tenths, digest, publish, scratch

_TABLES = ("sequences", "masks")
_STILLS = ("masks", "instances")
# The columns that name files: of sequences, and of a table of stills.
_MEDIA = {"video": pa.string(), "images": pa.list_(pa.string()), "image": pa.string()}
_DOWNLOADS = 8


def check_set(uri: str) -> None:
    """Raise UsageError, naming the URI, where there is no training set."""
    try:
        location = storage.parse(uri)
        if location.is_local:
            from model.training.data.sources import find_sets

            find_sets([Path(location.key)])
        else:
            set_tables(uri)
    except storage.StorageError as error:
        raise UsageError(f"--data: {error}") from error
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--data {error}") from error


def set_tables(uri: str) -> dict[str, list[storage.Entry]]:
    """The Parquet files of a set by table: `sequences` and `masks`, or, of a set of stills, what it has of
    `masks` and `instances`.

    Raises:
        FileNotFoundError: there is no set, or none with masks.
        StorageError: the folder cannot be listed.
    """
    tables = {name: _table_files(uri, name) for name in _TABLES}
    if tables["sequences"]:
        if not tables["masks"]:
            raise FileNotFoundError(f"{uri}: holds neither masks.parquet nor a folder masks of Parquet files")
        return tables
    stills = {name: storage.entry(storage.join(uri, f"{name}.parquet")) for name in _STILLS}
    if not any(stills.values()):
        raise FileNotFoundError(f"{uri}: no sequences.parquet, masks.parquet or instances.parquet in it")
    return {name: [entry] for name, entry in stills.items() if entry is not None}


def _table_files(uri: str, name: str) -> list[storage.Entry]:
    whole = storage.entry(storage.join(uri, f"{name}.parquet"))
    if whole is not None:
        return [whole]
    below = storage.join(uri, name)
    entries = [entry for entry in storage.list_files(below) if is_table_part(entry.uri.removeprefix(below))]
    return sorted(entries, key=lambda entry: entry.uri)


def set_state(uri: str) -> list[Any]:
    """What changes when the tables of a set do."""
    location = storage.parse(uri)
    if not location.is_local:
        return [[entry.uri, entry.size, str(entry.modified)] for files in set_tables(uri).values() for entry in files]
    from model.training.data.sources import find_sets

    tables = [path for entry in find_sets([Path(location.key)]) for path in _local_tables(entry.folder)]
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(set(tables))]


def _local_tables(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.parquet")
    for name in _TABLES:
        yield from table_parts(folder / name)


def local_set(
    uri: str, cache: Path, split: str, names: Collection[str] = (), say: Callable[[str], None] | None = None
) -> Path:
    """A folder on this node with a set's tables and files: the set's own where everything in it is local.

    Elsewhere it is a copy in the cache, with the files of `split` (of the sequences `names`, where given; a still is
    none). One process of the node makes it while the others wait, and it is used for as long as the tables are the
    same. Copied files are shared by all copies; a replaced one is copied again with the next change of the tables.

    Args:
        say: receives progress lines.

    Raises:
        StorageError: a table or file cannot be read; names it.
        FileNotFoundError: there is no set.
    """
    location = storage.parse(uri)
    if location.is_local and not _names_objects(Path(location.key)):
        return Path(location.key)
    # The state is taken before the tables are read: of a set that changes meanwhile the next call makes another copy.
    key = digest(location.uri, set_state(location.uri), split, sorted(names))
    folder = cache / "sets" / key / (posixpath.basename(location.uri) or "set")
    tables = set_tables(location.uri)
    if _whole(folder, tables):
        return folder
    (cache / "sets").mkdir(parents=True, exist_ok=True)
    with locked(cache / "sets" / f"{digest(location.uri)}.lock"):
        if not _whole(folder, tables):  # those that clean temporary folders take files one by one
            shutil.rmtree(folder, ignore_errors=True)
            with scratch(cache) as work:
                publish(_copy(location.uri, work, cache / "files", split, names, say or (lambda _: None)), folder)
    return folder


def _copy(uri: str, work: Path, files: Path, split: str, names: Collection[str], say: Callable[[str], None]) -> Path:
    """A folder in `work` with the set's tables, whose chosen rows name files in `files`."""
    tables = {name: _fetch_table(entries, work) for name, entries in set_tables(uri).items()}
    if "sequences" in tables:
        naming, tables["sequences"] = ["sequences"], _chosen(tables["sequences"], split, names)
    else:
        naming = list(tables)
        tables = {name: table.slice(0, 0) if names else table for name, table in tables.items()}
    wanted = list(dict.fromkeys(path for name in naming for path in _media(tables[name])))
    say_share = by_tenths(say, f"copying files of {uri}")
    local: dict[str, str] = {}
    files.mkdir(exist_ok=True)
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        for path, place in zip(wanted, pool.map(lambda path: _fetch(uri, path, work, files), wanted), strict=True):
            local[path] = place
            say_share(len(local), len(wanted))
    folder = work / "set"
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(_naming(table, local) if name in naming else table, folder / f"{name}.parquet")
    return folder


def _fetch_table(files: Sequence[storage.Entry], work: Path) -> pa.Table:
    parts = []
    for entry in files:
        storage.download(entry.uri, work / "table")
        try:
            parts.append(pq.read_table(work / "table"))
        except pa.ArrowException as error:
            raise ValueError(f"{entry.uri}: not a readable Parquet file ({error})") from error
    return pa.concat_tables(parts, promote_options="default")


def _chosen(table: pa.Table, split: str, names: Collection[str]) -> pa.Table:
    """The sequences of a split and, where any are given, of these names."""
    if "split" in table.schema.names:
        table = table.filter(pc.field("split") == split)
    return table.filter(pc.field("sequence").isin(sorted(names))) if names else table


def _media(table: pa.Table) -> Iterator[str]:
    """The files that the rows name, in order; where a sequence has images, they count and not its video."""
    for row in table.select([name for name in _MEDIA if name in table.schema.names]).to_pylist():
        yield from row.get("images") or filter(None, (row.get("video"), row.get("image")))


def _naming(table: pa.Table, local: dict[str, str]) -> pa.Table:
    """The table with local paths in place of the ones it has."""
    for name, kind in _MEDIA.items():
        if name in table.schema.names:
            values = [
                [local[path] for path in value] if isinstance(value, list) else local.get(value)
                for value in table[name].to_pylist()
            ]
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))
    return table


def _fetch(base: str, path: str, work: Path, files: Path) -> str:
    """A file of a set as a local path: what is not local is copied to `files`, unless it is there as it is now."""
    uri = storage.resolve(base, path)
    location = storage.parse(uri)
    if location.is_local:
        return location.key
    entry = storage.entry(uri)
    if entry is None:
        raise storage.NotFound(uri, "read", "absent", f"a table of {base} names it; upload it or correct the table")
    target = files / f"{digest(uri, entry.size, str(entry.modified))}{posixpath.splitext(location.key)[1]}"
    if not target.exists():
        storage.download(uri, work / target.name)
        os.replace(work / target.name, target)
    return str(target)


def _names_objects(folder: Path) -> bool:
    """Whether a local set names files in object storage."""
    try:
        return any("://" in path for path in _named(folder))
    except FileNotFoundError:
        return False


def _whole(folder: Path, tables: Collection[str]) -> bool:
    """Whether a copy is there with these tables and all files that they name."""
    complete = all((folder / f"{name}.parquet").exists() for name in tables)
    return complete and all(os.path.exists(path) for path in _named(folder))


def _named(folder: Path) -> Iterator[str]:
    """The files that the tables of a local set name; FileNotFoundError where there is no set."""
    tables = set_tables(str(folder))
    for entry in tables.get("sequences") or [entry for files in tables.values() for entry in files]:
        columns = [name for name in _MEDIA if name in pq.read_schema(entry.uri).names]
        yield from _media(pq.read_table(entry.uri, columns=columns))
