"""The token of a local Ray is this process's own unless there is one, and needs no home that can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.cluster.connect import choose_authentication


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what the test leaves is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("mode", [None, "token"])
def test_a_local_ray_has_a_token_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None) -> None:
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    choose_authentication()
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert not list(home.iterdir())


@pytest.mark.parametrize("place", ["variable", "path", "home"])
def test_a_token_that_is_there_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    file = home / ("elsewhere" if place == "path" else ".ray/auth_token")
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    if place == "path":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    choose_authentication()
    assert os.environ.get("RAY_AUTH_TOKEN") == ("mine" if place == "variable" else None)


def test_a_mode_that_is_chosen_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    choose_authentication()
    assert os.environ["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_TOKEN" not in os.environ
