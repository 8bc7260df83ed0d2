"""Chosen rows of one table, not yet read: as Arrow, pandas, Polars or DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from pipeline import storage

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of `clips` or `masks` of an opened run. Nothing is read before one of the methods asks for it.

    Conditions reach the Parquet files: those that cannot hold a row that is wanted are not opened, and of the others
    only the row groups and columns needed are read. Rows come file by file, within a file in its order.

    Attributes:
        dataset: what is read; has the conditions in it.
        columns: the columns handed out, in this order.
        uri: the table's folder, for messages.
    """

    dataset: ds.Dataset
    columns: tuple[str, ...]
    uri: str

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return pa.schema([self.dataset.schema.field(name) for name in self.columns])

    def count(self) -> int:
        """The number of rows."""
        with storage.reporting(self.uri, "read"):
            return self.dataset.count_rows()

    def scanner(self) -> ds.Scanner:
        """A pyarrow scanner, for whatever takes one."""
        return self.dataset.scanner(columns=list(self.columns))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as a stream of record batches; memory does not grow with their number."""
        with storage.reporting(self.uri, "read"):
            yield from self.scanner().to_batches()

    def arrow(self) -> pa.Table:
        """The rows as a pyarrow table."""
        with storage.reporting(self.uri, "read"):
            return self.scanner().to_table()

    def pandas(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame."""
        return self.arrow().to_pandas()

    def polars(self) -> pl.LazyFrame:
        """The rows as a Polars LazyFrame; its filters and selections reach the files too."""
        import polars as pl

        return pl.scan_pyarrow_dataset(self.dataset).select(self.columns)

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """The rows as a DuckDB relation; its filters and selections reach the files too.

        Args:
            connection: where the relation lives; DuckDB's default connection where there is none.
        """
        import duckdb

        relation = (connection or duckdb).from_arrow(self.dataset)
        return relation.select(*self.columns)
