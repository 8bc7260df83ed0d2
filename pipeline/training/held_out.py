"""The held-out sequences of sets anywhere, checked before a worker starts."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.training.sets import set_tables


def check_held_out(data: Sequence[str], names: Collection[str], split: str, option: str) -> None:
    """Raise UsageError, naming `option` and sequence, where one is in no set or has too few masks to be judged.

    It reads tables alone, and of those in object storage only the rows of the sequences.
    """
    from model.training.data.sources import find_sets
    from model.training.validate import held_out_sequences

    with tempfile.TemporaryDirectory(prefix="siammask-held-out-") as folder:
        places = {uri: _rows(uri, Path(folder) / str(number), names, split) for number, uri in enumerate(data)}
        sets = [data_set for place in places.values() if place is not None for data_set in find_sets([place])]
        try:
            held_out_sequences([data_set.folder for data_set in sets if data_set.table is None], names, split)
        except (FileNotFoundError, ValueError) as error:
            text = str(error)
            for uri, place in ((uri, place) for uri, place in places.items() if place is not None):
                text = text.replace(str(place), uri)
            raise UsageError(f"{option}: {text}") from error


def _rows(uri: str, target: Path, names: Collection[str], split: str) -> Path | None:
    """A folder with the set's rows of these sequences, its own where it is local; None for a set of stills."""
    location = storage.parse(uri)
    if location.is_local:
        return Path(location.key)
    try:
        tables = set_tables(uri)
        if "sequences" not in tables:
            return None
        folder = target / storage.name(uri)
        folder.mkdir(parents=True)
        for name, files in tables.items():
            places = [storage.filesystem_for(entry.uri) for entry in files]
            with storage.reporting(uri, f"read the table {name} of"):
                table = ds.dataset([path for _, path in places], filesystem=places[0][0], format="parquet")
                chosen = pc.field("sequence").isin(sorted(names))
                if "split" in table.schema.names:
                    chosen &= pc.field("split") == split
                pq.write_table(table.to_table(filter=chosen), folder / f"{name}.parquet")
    except storage.StorageError as error:
        raise UsageError(f"--data: {error}") from error
    return folder
