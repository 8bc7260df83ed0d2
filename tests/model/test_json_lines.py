"""What a command prints, by whatever way, is JSON lines where they are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from model.json_lines import json_line
from tests.conftest import ROOT

PREFIX = "\x1b[36m(MapWorker(MapBatches(Segmenter)) pid=31, ip=10.0.0.2)\x1b[0m "


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("run 7: 3 clips", {"levelname": "INFO", "message": "run 7: 3 clips"}),
        ("error: no such file", {"levelname": "ERROR", "message": "no such file"}),
        ("WARNING late", {"levelname": "WARNING", "message": "late"}),
        ("[2026-11-29 07:17:30,614 E 27 60] core.cc:5: bad", {"levelname": "ERROR", "message": "core.cc:5: bad"}),
        ('{"message": "mine", "clip_id": "a"}', {"message": "mine", "clip_id": "a"}),
        (PREFIX + '{"clip_id": "a"}', {"clip_id": "a"}),
        (PREFIX + '{"clip_id": "a"} [repeated 2x]', {"clip_id": "a", "repeated": "[repeated 2x]"}),
        (
            PREFIX + "WARNING text",
            {
                "levelname": "WARNING", "message": "text",
                "name": "MapWorker(MapBatches(Segmenter))", "pid": "31", "ip": "10.0.0.2",
            },
        ),
        ("(autoscaler +3s) Adding 1 node", {"levelname": "INFO", "message": "(autoscaler +3s) Adding 1 node"}),
        ("{no JSON", {"levelname": "INFO", "message": "{no JSON"}),
        ("errors: 3", {"levelname": "INFO", "message": "errors: 3"}),
    ],
)  # fmt: skip
def test_a_line_becomes_an_object(line: str, record: dict[str, Any]) -> None:
    made = json_line(line)
    assert made.pop("asctime", "a time")
    assert made == record


SCRIPT = """
import os, subprocess, sys, warnings
from model.json_lines import print_json_lines
print_json_lines()
print("first")
os.write(2, b"from C\\n")
subprocess.run(["sh", "-c", "echo from a child >&2"])
warnings.warn("careful")
print("no end", end="")
raise KeyError("lost")
"""


def run(*command: str) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    """Exit status, and the lines of standard output and standard error."""
    environment = {**os.environ, "RAY_LOGGING_CONFIG_ENCODING": "JSON"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    printed, errors = ([json.loads(line) for line in text.splitlines()] for text in (done.stdout, done.stderr))
    return done.returncode, printed, errors


def test_whatever_prints_comes_out_as_json() -> None:
    status, printed, errors = run("-c", SCRIPT)
    assert status == 1
    assert [record["message"] for record in printed] == ["first", "no end"]
    messages = [record["message"] for record in errors]
    assert messages[:2] == ["from C", "from a child"]
    assert any("careful" in message for message in messages) and messages[-1] == "KeyError: 'lost'"


def test_a_mistake_in_a_command_is_json() -> None:
    status, printed, (error,) = run("jobs/segment.py", "--manifest", "m", "--output", "o", "--actors", "none")
    assert (status, printed, error["levelname"]) == (2, [], "ERROR")
    assert "--actors" in error["message"]
