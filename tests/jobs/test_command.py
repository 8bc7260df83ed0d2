"""`siammask-batch`: every job by its name, for an installed package."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module

import pytest

from jobs.command import COMMANDS, entry
from tests.conftest import ROOT


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["siammask-batch", *arguments])
    with pytest.raises(SystemExit) as caught:
        entry()
    return int(caught.value.code or 0)


def test_the_package_has_the_script_and_a_command_for_each_job() -> None:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["siammask-batch"]
    module, function = script.split(":")
    assert getattr(import_module(module), function) is entry
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "command", "vot_tracker"}
    assert set(COMMANDS) == jobs


def test_a_command_gets_its_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "compact", "--help") == 0
    assert "--target-bytes" in capsys.readouterr().out
    assert run(monkeypatch, "manifest", "v.mp4", "--boxes", "b.txt", "--output", "m.csv") == 2
    assert "error: --output m.csv" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "status"), [((), 2), (("--help",), 0), (("track",), 2)])
def test_what_is_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int
) -> None:
    assert run(monkeypatch, *arguments) == status
    said = "".join(capsys.readouterr())
    assert all(name in said for name in COMMANDS)
