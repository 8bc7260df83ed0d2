"""The text of a CSV manifest as spreadsheets and data tools write it: its encoding, its delimiter, its header.

Excel writes semicolons, and decimal commas, where the comma is the decimal mark; "Unicode text" is UTF-16 with tabs.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline import storage

_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = "sep="
_LONGEST_VALUE = 16 << 20


class CsvReader(Iterator[list[str]], Protocol):
    """What `csv.reader` returns."""

    line_num: int


@dataclass(frozen=True, slots=True)
class CsvText:
    """A CSV whose header has been read.

    Attributes:
        names: of the columns, without white space around them.
        reader: of the records after the header.
        first_line: line that the header is on, less one.
        decimal_comma: whether numbers may be written `1,5`: where commas do not part the values.
    """

    names: list[str]
    reader: CsvReader
    first_line: int
    decimal_comma: bool

    @property
    def line(self) -> int:
        """The line that the next record begins on."""
        return self.first_line + self.reader.line_num + 1


@contextlib.contextmanager
def open_csv(uri: str, telling: str) -> Iterator[CsvText]:
    """Open a CSV and read its header; a file without any text has no names.

    Args:
        uri: of the file, also gzipped by its name.
        telling: a column that the header has to have; the delimiter is the one by which it has it, else the comma.

    Raises:
        csv.Error: the header cannot be parsed.
        StorageError: the file cannot be read.
    """
    csv.field_size_limit(_LONGEST_VALUE)
    with storage.reporting(uri, "read"), storage.open_stream(uri) as source:
        buffered = io.BufferedReader(source)
        text = io.TextIOWrapper(buffered, *_encoding(buffered), newline="")
        first, skipped = text.readline(), 0
        if first.lower().startswith(_SEPARATOR_LINE):
            first, skipped = text.readline(), 1
        delimiter = _delimiter(first, telling)
        reader = csv.reader(itertools.chain([first], text), strict=True, delimiter=delimiter)
        names = [name.strip() for name in next(reader, [])] if first else []
        yield CsvText(names, reader, skipped, delimiter != ",")


def _encoding(source: io.BufferedReader) -> tuple[str, str]:
    """The encoding, and what becomes of bytes that are not of it: UTF-8's become lone surrogates, which the checks
    refuse by row and column."""
    if source.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16", "replace"
    return "utf-8-sig", "surrogateescape"


def _delimiter(header: str, telling: str) -> str:
    for delimiter in _DELIMITERS:
        if telling in (name.strip() for name in _split(header, delimiter)):
            return delimiter
    return ","


def _split(header: str, delimiter: str) -> Iterable[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def is_blank(values: Iterable[str]) -> bool:
    """Whether a record holds nothing, as the rows do that a spreadsheet writes after its last."""
    return not any(value.strip() for value in values)
