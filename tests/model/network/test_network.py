"""The network against the published outputs, and the geometry that both backbones share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.network import SiamMask, SiamMaskConfig, vectors_at
from model.weights import load_weights
from tests.model.golden import seeded_checkpoint


def _image(crop: np.ndarray) -> Tensor:
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float()


@pytest.mark.shared
@pytest.mark.parametrize("layout", ["official", "pysot"])
def test_outputs_equal_the_published_ones(shared: Path, tmp_path: Path, layout: str) -> None:
    torch.save({"state_dict": seeded_checkpoint(shared, layout)}, tmp_path / "seeded.pth")
    loaded = load_weights(tmp_path / "seeded.pth")
    assert loaded.layout == layout
    model = loaded.model
    golden = np.load(shared / "golden" / "network.npz")
    row, col = torch.from_numpy(golden["positions"]).T
    batch = torch.zeros_like(row)
    with torch.no_grad():
        template = model.template(_image(golden["template_crop"]))
        features = model.features(_image(golden["search_crop"]))
        response = model.respond(template, features)
        vectors = model.mask_vectors(model.patches(features, batch, row, col), template.mask[batch])
        assert response.box is not None
        got = {
            "zf": model.template_features(_image(golden["template_crop"]))[0],
            "cls": response.score[0],
            "loc": response.box[0],
            "corr": vectors,
            "mask63": model.mask63(vectors),
            "refine": model.refined(features, vectors, batch, row, col),
        }
    for name, value in got.items():
        want = golden[name]
        np.testing.assert_allclose(value.numpy(), want, rtol=1e-4, atol=1e-4 * np.abs(want).max(), err_msg=name)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
@pytest.mark.parametrize("variant", ["three", "two"])
def test_both_backbones_and_variants_share_one_geometry(backbone: str, variant: str) -> None:
    model = SiamMask(SiamMaskConfig(backbone, variant, True)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        template = model.template(torch.rand(2, 3, 127, 127))
        features = model.features(torch.rand(2, 3, 255, 255))
        response = model.respond(template, features)
        where = torch.tensor([0, 1]), torch.tensor([0, 24]), torch.tensor([24, 12])
        vectors = model.mask_vectors(model.patches(features, *where), template.mask[where[0]])
        base, refined = model.mask63(vectors), model.refined(features, vectors, *where)
    assert [tuple(map_.shape[-2:]) for map_ in features] == [(125, 125), (63, 63), (31, 31), (31, 31)]
    assert template.score.shape == (2, 256, 5, 5)
    assert response.score.shape == (2, 10 if variant == "three" else 1, 25, 25)
    assert (response.box is None) == (variant == "two")
    assert base.shape == (2, 63, 63)
    assert refined.shape == (2, 127, 127)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
def test_features_move_with_the_image(backbone: str) -> None:
    """A shift of 8 pixels moves the features by one cell, away from the padded border."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig(backbone)).eval()  # type: ignore[arg-type]
    image = torch.rand(1, 3, 255, 263) * 255
    with torch.no_grad():
        left = model.features(image[..., :255]).stage3
        right = model.features(image[..., 8:]).stage3
    torch.testing.assert_close(
        left[..., 8:-8, 9:-7], right[..., 8:-8, 8:-8], rtol=1e-3, atol=1e-5 * left.abs().max().item()
    )


def test_mask63_reads_the_same_in_training_and_inference_wiring() -> None:
    """Training reads positions after the head's batch norm, inference before; on frozen statistics they agree."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet18"))
    response = torch.rand(2, 256, 25, 25)
    where = torch.tensor([0, 1, 1]), torch.tensor([3, 12, 24]), torch.tensor([7, 12, 0])
    with torch.no_grad():
        model.train()
        model.mask.head.eval()
        trained = model.mask63_in_training(response, *where)
        model.eval()
        torch.testing.assert_close(trained, model.mask63(vectors_at(response, *where)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
def test_mask_vectors_of_chosen_places_are_those_of_the_whole_response(backbone: str) -> None:
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig(backbone)).eval()  # type: ignore[arg-type]
    where = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 24, 12, 7]), torch.tensor([24, 0, 12, 19])
    with torch.no_grad():
        template = model.template(torch.rand(2, 3, 127, 127) * 255)
        features = model.features(torch.rand(2, 3, 255, 255) * 255)
        whole = vectors_at(model.mask_response(template, features), *where)
        vectors = model.mask_vectors(model.patches(features, *where), template.mask[where[0]])
        torch.testing.assert_close(vectors, whole, rtol=1e-4, atol=1e-5 * whole.abs().max().item())


def test_config_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="resnet34"):
        SiamMaskConfig("resnet34")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neck_width"):
        SiamMaskConfig.from_json('{"backbone": "resnet18", "neck_width": 3}')
    config = SiamMaskConfig("resnet18", "two", False)
    assert SiamMaskConfig.from_json(config.to_json()) == config
