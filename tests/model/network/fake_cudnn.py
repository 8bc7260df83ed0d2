"""cuDNN's two operators on a CPU, as its manual defines them."""

from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from model.network import cudnn as cudnn_module


class Operators:
    """What stands for `torch.ops.aten`; `called` has the names of what was called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def cudnn_convolution_relu(self, x: Tensor, weight: Tensor, bias: Tensor, *shape: Any) -> Tensor:
        self.called.append("relu")
        return F.conv2d(x, weight, bias, *shape).relu()

    def cudnn_convolution_add_relu(
        self, x: Tensor, weight: Tensor, z: Tensor, alpha: float, bias: Tensor, *shape: Any
    ) -> Tensor:
        self.called.append("add")
        return (F.conv2d(x, weight, bias, *shape) + alpha * z).relu()


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gives this CPU the operators; returns the names of those called."""
    operators = Operators()
    monkeypatch.setattr(cudnn_module, "OPERATORS", operators)
    return operators.called
