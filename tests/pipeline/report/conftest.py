"""What the tests of the report share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report import sheet
from tests.pipeline.report.written import Output


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "out")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault of the clips that are shown here."""
    monkeypatch.setattr(sheet, "CLIP_WITHIN_S", 120.0)
