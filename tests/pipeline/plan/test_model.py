"""The model of a run: what is wrong with weights or preset is one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.errors import UsageError
from pipeline.plan.model import check_model, config_hash
from tests.model.golden import seeded_checkpoint

NAME = "rpn_model.cls.head.3.weight"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    metadata = {"name": "small", "licence": "none", "tracker": {"preset": "vot", "lr": 0.5}}
    save_weights(path, SiamMask(SiamMaskConfig("resnet18")), metadata=metadata)
    return path


@pytest.mark.shared
@pytest.mark.parametrize("fault", ["missing", "renamed", "reshaped", "nan"])
def test_a_corrupt_entry_of_a_public_checkpoint_is_named(shared: Path, tmp_path: Path, fault: str) -> None:
    state: dict[str, Tensor] = seeded_checkpoint(shared)
    value = state.pop(NAME)
    if fault == "renamed":
        state[NAME + ".old"] = value
    elif fault == "reshaped":
        state[NAME] = value[1:]
    elif fault == "nan":
        state[NAME] = torch.full_like(value, float("nan"))
    torch.save({"state_dict": state}, tmp_path / "bad.pth")
    with pytest.raises(UsageError, match=NAME.replace(".", r"\.")) as caught:
        check_model(str(tmp_path / "bad.pth"), "davis")
    assert "bad.pth" in str(caught.value) and "siammask-weights-" not in str(caught.value)


@pytest.mark.shared
@pytest.mark.parametrize("layout", ["official", "pysot"])
def test_public_checkpoints_of_both_layouts(shared: Path, tmp_path: Path, layout: str) -> None:
    torch.save(seeded_checkpoint(shared, layout), tmp_path / "public.pth")
    model = check_model(str(tmp_path / "public.pth"), "davis")
    assert (model.layout, model.name, model.network["backbone"]) == (layout, "public", "resnet50")
    assert model.tracker_params["lr"] == 1.0


def test_weights_bring_their_own_tracker_unless_a_preset_is_named(small: Path, tmp_path: Path) -> None:
    own = check_model(str(small), None)
    assert own.tracker_params == {
        "penalty_k": 0.04,
        "window_influence": 0.42,
        "lr": 0.5,
        "mask_threshold": 0.3,
        "context": 0.5,
    }
    assert own.metadata["licence"] == "none"
    (tmp_path / "mine.json").write_text('{"preset": "vot18", "lr": 0.1}')
    assert check_model(str(small), str(tmp_path / "mine.json")).tracker_params["penalty_k"] == 0.10
    with pytest.raises(UsageError, match="fast"):
        check_model(str(small), "fast")


@pytest.mark.parametrize(
    ("uri", "message"), [("absent.pth", "absent.pth"), ("ftp://host/a.pth", "ftp://"), ("README.md", "no checkpoint")]
)
def test_weights_that_cannot_be_used(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_model(uri, None)


def test_the_configuration_hash_covers_what_changes_results(small: Path) -> None:
    model = check_model(str(small), None)
    same = config_hash(model, stride=1, rotated_box="mbr")
    assert same == config_hash(check_model(str(small), None), stride=1, rotated_box="mbr")
    others = [
        config_hash(model, stride=2, rotated_box="mbr"),
        config_hash(model, stride=1, rotated_box="opt"),
        config_hash(check_model(str(small), "davis"), stride=1, rotated_box="mbr"),
    ]
    assert len({same, *others}) == 4
