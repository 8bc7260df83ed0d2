"""A manifest that is one JSON array of objects, as pandas writes one; parsed item by item, never held whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from pipeline.manifest.problems import Problem, show

LONGEST_ITEM = 64 << 20
_CHUNK = 1 << 18
_SPACE = " \t\r\n"


class Item(NamedTuple):
    """One element of the array: the line on which it begins, and its value or what is wrong with it."""

    line: int
    value: Any
    problem: Problem | None = None


def read_array(source: BinaryIO) -> Iterator[Item]:
    """The elements of a JSON array in UTF-8, in order; ends after the first that cannot be parsed."""
    text = _Text(source)
    try:
        text.skip()
        text.take("[")
        closed = text.skip() == "]"
        while not closed:
            line = text.line
            yield Item(line, text.value())
            closed = text.skip() == "]"
            if not closed:
                text.take(",")
                text.skip()
        text.take("]")
        if text.skip():
            raise _Refused("nothing after the JSON array", text.shown())
    except _Refused as refused:
        yield Item(text.line, None, Problem("", refused.expected, refused.got))


class _Refused(Exception):
    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected, got)
        self.expected, self.got = expected, got


class _Text:
    """The part of the document that is being parsed."""

    def __init__(self, source: BinaryIO) -> None:
        self.line = 1
        self._source = source
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._text = ""
        self._position = 0
        self._ended = False

    def skip(self) -> str:
        """Go to the next character that is no white space, and return it; empty at the end."""
        while True:
            while self._position < len(self._text):
                char = self._text[self._position]
                if char not in _SPACE:
                    return char
                self._advance(self._position + 1)
            if not self._read(_CHUNK):
                return ""

    def take(self, char: str) -> None:
        """Go past the character that `skip` stands on, which has to be this one."""
        if not self._text.startswith(char, self._position):
            got = self.shown()
            raise _Refused(f"{char!r} in the JSON array", got or "the end of the file")
        self._advance(self._position + 1)

    def value(self) -> Any:
        """The JSON value that begins here; goes past it."""
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._position)
                break
            except RecursionError:
                raise _Refused("one JSON object", "JSON nested too deep") from None
            except ValueError:
                waiting = len(self._text) - self._position
                if waiting > LONGEST_ITEM:
                    raise _Refused(f"an object of at most {LONGEST_ITEM >> 20} MiB", "a longer one") from None
                if not self._read(max(_CHUNK, waiting)):
                    raise _Refused("one JSON object in the array", f"no JSON: {self.shown()}") from None
        self._advance(end)
        return value

    def shown(self) -> str:
        """What stands here, for a message; empty at the end."""
        rest = self._text[self._position : self._position + 200].strip()
        return show(rest) if rest else ""

    def _advance(self, position: int) -> None:
        self.line += self._text.count("\n", self._position, position)
        self._position = position

    def _read(self, size: int) -> bool:
        if self._ended:
            return False
        data = self._source.read(size)
        self._ended = not data
        try:
            more = self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise _Refused("UTF-8", f"byte {error.object[error.start]:#04x}") from None
        self._text = self._text[self._position :] + more
        self._position = 0
        return not self._ended or bool(more)
