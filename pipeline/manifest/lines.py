"""JSON Lines: one JSON object a line, blank lines passed over.

Read here and not by `ray.data.read_text`, which holds a whole file in memory, also ends lines at characters that
JSON strings may contain (U+2028, U+0085), and gives no line numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline import storage
from pipeline.manifest import kept
from pipeline.manifest.check import Rules, check_row
from pipeline.manifest.files import Piece
from pipeline.manifest.problems import Problem, show
from pipeline.manifest.report import Checked, Log, placed

LONGEST_LINE = 64 << 20
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"


def read_lines(piece: Piece, rules: Rules, log: Log) -> Iterator[Checked]:
    """Check the lines that begin in a piece; rows count from the piece's first line."""
    for row, line in enumerate(_lines(piece), start=1):
        log.rows = row
        if line.isspace() or not line:
            continue
        values, problems = _parse(line)
        if values is None:
            yield Checked(row, None, placed(problems, row))
            continue
        log.note(values)
        for name in rules.keep:
            problems += kept.check_json(values.get(name), name, row, log.seen)
        clip = check_row(values, rules)
        if isinstance(clip, list):
            problems = clip + problems
        if problems:
            yield Checked(row, None, placed(problems, row))
        elif not isinstance(clip, list):
            yield Checked(row, clip, [])


def _parse(line: bytes) -> tuple[dict | None, list[Problem]]:
    expected = "one JSON object on the line"
    if len(line) > LONGEST_LINE:
        return None, [Problem("", f"a line of at most {LONGEST_LINE >> 20} MiB", "a longer one")]
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return None, [Problem("", "UTF-8", f"byte {line[error.start]:#04x} at column {error.start + 1}")]
    except RecursionError:
        return None, [Problem("", expected, "JSON nested too deep")]
    except ValueError as error:
        column = f" at column {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        shown = show(line[:200].decode(errors="replace").strip())
        return None, [Problem("", expected, f"no JSON{column}: {shown}")]
    if type(values) is not dict:
        return None, [Problem("", expected, show(values))]
    return values, []


def _lines(piece: Piece) -> Iterator[bytes]:
    """The lines that begin in the piece, the last one to its end wherever that is, without line ends."""
    filesystem, path = storage.filesystem_for(piece.file.uri)
    with storage.reporting(piece.file.uri, "read"), filesystem.open_input_file(path) as file:
        # From one byte before: a line begins here only where that byte ends another.
        file.seek(max(piece.start - 1, 0))
        data = file.read(piece.end - max(piece.start - 1, 0))
        if piece.start > 0:
            first = data.find(b"\n")
            if first < 0 or first + 1 == len(data):
                return
            data = data[first + 1 :]
        else:
            data = data.removeprefix(_BOM)
        lines = data.split(b"\n")
        last = lines.pop()
        yield from lines
        if last:
            rest = [last]
            while sum(map(len, rest)) <= LONGEST_LINE and (more := file.read(_CHUNK)):
                end = more.find(b"\n")
                rest.append(more if end < 0 else more[:end])
                if end >= 0:
                    break
            yield b"".join(rest)
