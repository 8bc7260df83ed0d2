"""Every line that a command prints as a JSON object, where RAY_LOGGING_CONFIG_ENCODING=JSON asks Ray for JSON logs.

Ray formats what goes through `logging`, once it runs. A job prints more than that: its first and its last line, its
progress, errors and tracebacks; Ray's core, and the lines of workers with a prefix. All of it goes through a process
that outlives a crash of the job, and makes an object of each line that is none.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO

_VARIABLE = "RAY_LOGGING_CONFIG_ENCODING"
_END_WITHIN_S = 2.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORKER = re.compile(r"\((?P<name>.*?) ?pid=(?P<pid>\d+)(?:, ip=(?P<ip>[^)]+))?\) (?P<text>.*)")
_LEVEL = re.compile(
    r"(?P<word>DEBUG|INFO|WARNING|ERROR|CRITICAL|error)\b:? *|\[\d{4}-[\d-]+ [\d:,]+ (?P<letter>[DIWEF]) \d+ \d+\] "
)
_LETTERS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}


def asked_for() -> bool:
    """Whether lines are to be JSON."""
    return os.environ.get(_VARIABLE, "").upper() == "JSON"


def print_json_lines() -> None:
    """From now on, to the end of this process and of those that it starts, what is printed comes out as JSON lines."""
    sources, sinks = zip(*(os.pipe() for _ in range(2)), strict=True)
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__), *map(str, sources)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=sources, start_new_session=True)
    printed = [os.dup(number) for number in (1, 2)]
    _flush()
    for sink, number in zip(sinks, (1, 2), strict=True):
        os.dup2(sink, number)
    for descriptor in (*sources, *sinks):
        os.close(descriptor)

    def end() -> None:
        _flush()
        for copy, number in zip(printed, (1, 2), strict=True):
            os.dup2(copy, number)
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:  # a process that was started here still holds the pipes
            return

    atexit.register(end)


def json_line(line: str) -> dict[str, Any]:
    """A line as an object: itself where it is one, else with the keys of Ray's own JSON logs.

    >>> json_line('(Segmenter pid=7) {"message": "late"} [repeated 2x across cluster]')
    {'message': 'late', 'repeated': '[repeated 2x across cluster]'}
    >>> {**json_line("error: no such file"), "asctime": ""}
    {'asctime': '', 'levelname': 'ERROR', 'message': 'no such file'}
    """
    text, origin = _COLOUR.sub("", line), {}
    worker = _WORKER.match(text)
    if worker is not None:
        origin = {key: value for key in ("name", "pid", "ip") if (value := worker[key])}
        text = worker["text"]
    if text.startswith("{"):
        try:
            record, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            pass
        else:
            return record if not text[end:].strip() else {**record, "repeated": text[end:].strip()}
    now = time.time()
    level = _LEVEL.match(text)
    name = "INFO" if level is None else (level["word"] or _LETTERS[level["letter"]]).upper()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f",{int(now % 1 * 1000):03d}"
    return {"asctime": stamp, "levelname": name, "message": text[level.end() if level else 0 :], **origin}


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _copy(source: BinaryIO, sink: BinaryIO) -> None:
    for raw in source:
        line = raw.decode(errors="replace").rstrip()
        if line:
            sink.write(json.dumps(json_line(line)).encode() + b"\n")
            sink.flush()


def _main() -> None:
    threads = [
        threading.Thread(target=_copy, args=(os.fdopen(int(number), "rb"), sink))
        for number, sink in zip(sys.argv[1:], (sys.stdout.buffer, sys.stderr.buffer), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    _main()
