"""Why torch cannot use a GPU, and what to install, in one sentence: with the calls of torch faked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.network import cuda
from model.network.cuda import cuda_fault

OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12080). Please update your GPU driver\nby"


class Card:
    """Torch as it is with a CUDA build, a driver and a GPU, of which something can be wrong."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._patch, self._file = monkeypatch, tmp_path / "version"
        self.build("13.0", ["sm_75", "sm_80", "sm_90", "sm_100", "compute_120"])
        self.driver("580.126.09")
        self.capability(9, 0)
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
        monkeypatch.setattr(cuda, "_DRIVER_FILE", self._file)
        convolution = torch.nn.functional.conv2d
        self.factor, on_card = 1.0, [False]
        self.error: Exception | None = None

        def to(tensor: Any, device: str) -> Any:
            on_card[0] = True
            return tensor

        def conv2d(*args: Any, **kwargs: Any) -> Any:
            if on_card[0] and self.error is not None:
                raise self.error
            return convolution(*args, **kwargs) * (self.factor if on_card[0] else 1.0)

        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)

    def build(self, version: str | None, names: list[str]) -> None:
        self._patch.setattr(torch.version, "cuda", version)
        self._patch.setattr(torch.cuda, "get_arch_list", lambda: names)

    def driver(self, version: str) -> None:
        self._file.write_text(f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n")

    def capability(self, major: int, minor: int) -> None:
        self._patch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    def refuses(self, text: str) -> None:
        def init() -> None:
            raise RuntimeError(text)

        self._patch.setattr(torch.cuda, "init", init)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Card:
    return Card(monkeypatch, tmp_path)


def test_a_card_that_computes_has_no_fault(card: Card) -> None:
    assert cuda_fault() is None
    card.capability(7, 5)
    card.factor = 1.001  # as TF32 rounds
    assert cuda_fault() is None


def test_a_build_without_cuda(card: Card) -> None:
    card.build(None, [])
    fault = cuda_fault()
    assert fault is not None and "is a build without CUDA: install one with CUDA" in fault


@pytest.mark.parametrize(("version", "needed"), [("13.0", "580"), ("12.6", "525")])
def test_a_driver_that_is_too_old(card: Card, version: str, needed: str) -> None:
    card.build(version, ["sm_75"])
    card.driver("470.223.02")
    card.refuses(OLD_DRIVER)
    fault = cuda_fault()
    assert fault is not None and "\n" not in fault
    assert f"for CUDA {version} cannot use the GPU with driver 470.223.02 (The NVIDIA driver" in fault
    assert f"install NVIDIA's driver {needed} or newer" in fault


def test_no_driver_at_all(card: Card, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cuda, "_DRIVER_FILE", tmp_path / "absent")
    card.refuses("Found no NVIDIA driver on your system.")
    assert "with no NVIDIA driver (Found no NVIDIA driver" in (cuda_fault() or "")


def test_a_card_that_is_too_old_for_the_build(card: Card) -> None:
    card.capability(7, 0)
    assert "the NVIDIA H100 has compute capability 7.0, and torch" in (cuda_fault() or "")
    assert "needs 7.5 or more" in (cuda_fault() or "")
    card.build("12.6", ["sm_50", "sm_70", "sm_90a"])
    assert cuda_fault() is None


def test_a_convolution_that_fails_or_is_wrong(card: Card) -> None:
    card.factor = 1.5
    assert "computes a wrong convolution on the NVIDIA H100" in (cuda_fault() or "")
    card.error = RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED\nat …")
    assert "cannot compute a convolution on the NVIDIA H100 (cuDNN error: CUDNN_STATUS_NOT_INITIALIZED)" in (
        cuda_fault() or ""
    )
