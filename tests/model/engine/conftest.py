"""A network, frames and the tracks through them that the engine's tests compare with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from model.engine import TrackOutput
from model.engine.stepper import Stepper
from model.network import SiamMask
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, alone, cpu_threads, lively, texture


@pytest.fixture(scope="session")
def model() -> SiamMask:
    return lively()


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    return texture()


@pytest.fixture(scope="session")
def wanted(model: SiamMask, frames: list[np.ndarray]) -> list[list[TrackOutput]]:
    """Outputs of each of `BOXES` tracked by itself."""
    with cpu_threads(1):
        return alone(model, frames, BOXES)


@pytest.fixture
def one_runner() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture
def stepper(model: SiamMask) -> Stepper:
    return Stepper(model, PRESETS["vot"], device="cpu", precision="fp32", batch_sizes=[1, 2])
