"""What a run is computed in where nothing was asked for."""

from __future__ import annotations

import pytest
import torch

from model.training.config import TrainingConfig, usual_precision
from model.training.options import Recipe


@pytest.mark.parametrize(
    ("flags", "gpu", "wanted"), [({"avx2"}, False, "fp32"), ({"amx_bf16"}, False, "bf16"), ({"avx2"}, True, "bf16")]
)
def test_bfloat16_is_used_where_the_machine_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], gpu: bool, wanted: str
) -> None:
    monkeypatch.setattr("model.network.inference._cpu_flags", lambda: flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert usual_precision() == TrainingConfig(steps=1).precision == wanted
    assert Recipe().config(steps=1, workers=1, batch_size=2).precision == wanted
    assert Recipe(precision="bf16").config(steps=1, workers=1, batch_size=2).precision == "bf16"
