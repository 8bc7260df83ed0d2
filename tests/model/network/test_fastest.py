"""`auto` is what a CPU computes fastest, not what it announces."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from model.network import SiamMask, SiamMaskConfig, fastest
from model.network.fastest import chosen_precision, fastest_precision
from model.network.inference import BF16_FLAGS, resolve_precision


@pytest.fixture
def model() -> SiamMask:
    return SiamMask(SiamMaskConfig("resnet18", "two", False)).eval()


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({"fp32": 2.0, "bf16": 1.0}, "bf16"), ({"fp32": 1.0, "bf16": 1.6}, "fp32"), ({"fp32": 3.0, "bf16": 2.0}, "bf16")],
)
def test_the_fastest_is_chosen(
    model: SiamMask, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: str
) -> None:
    monkeypatch.setattr("model.network.inference._cpu_flags", lambda: {"avx512_bf16", "avx512_vnni"})
    monkeypatch.setattr(fastest, "_seconds", lambda network, precision, best: seconds[precision])
    assert fastest_precision(model) == chosen  # int8 has no time: it is not among them
    model.int8_lossless = True
    seconds["int8"] = 0.5
    assert fastest_precision(model) == "int8"
    assert chosen_precision("fp32", "cpu", model) == "fp32"


def test_a_cpu_with_one_choice_is_not_timed(model: SiamMask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.network.inference._cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(fastest, "_seconds", None)
    assert fastest_precision(model) == "fp32"


@pytest.mark.alone
def test_a_cpu_whose_matrix_unit_is_off_computes_in_float32() -> None:
    if resolve_precision("auto", "cpu") == "fp32":
        pytest.skip(f"this CPU has none of {', '.join(sorted(BF16_FLAGS))}")
    script = (
        "from model.network import SiamMask, SiamMaskConfig\n"
        "from model.network.fastest import fastest_precision\n"
        "print(fastest_precision(SiamMask(SiamMaskConfig('resnet18', 'two', False)).eval()))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fp32"
