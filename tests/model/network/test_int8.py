"""8-bit integers on a CPU: near the floats they stand for, and exact where integers are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model.engine import Engine
from model.network import SiamMask, SiamMaskConfig
from model.network.calibration import map_errors, map_ranges
from model.network.inference import INT8_FLAGS, prepare, resolve_precision
from model.network.onednn.int8 import PIXELS, Grid, Int8Conv, grid
from model.network.onednn.pooling import pool_integers
from model.tracker import PRESETS

CONFIGS = [
    SiamMaskConfig("resnet18", "three", True),
    SiamMaskConfig("resnet18", "two", False),
    SiamMaskConfig("resnet50", "three", True),
]


@pytest.fixture(scope="module")
def cpu() -> None:
    try:
        resolve_precision("int8", "cpu")
    except ValueError as error:
        pytest.skip(str(error))


def pictures(count: int, side: int = 255) -> list[np.ndarray]:
    """Windows with soft shapes, as pictures have them."""
    rng = np.random.default_rng(3)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 9, 9)))
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 255)
    return list(np.ascontiguousarray(smooth.permute(0, 2, 3, 1).numpy().astype(np.uint8)))


def network(config: SiamMaskConfig) -> SiamMask:
    torch.manual_seed(4)
    model = SiamMask(config).eval()
    model.backbone.conv1.weight.data /= 60  # pixels are not normalised
    model.int8_ranges = map_ranges(model, pictures(4))
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.backbone}-{config.variant}-{config.refine}")
@torch.inference_mode()
def test_the_network_answers_nearly_what_it_does_in_floats(config: SiamMaskConfig, cpu: None) -> None:
    model = network(config)
    crops = torch.from_numpy(np.stack(pictures(6)))[-2:].permute(0, 3, 1, 2)
    templates = torch.from_numpy(np.stack(pictures(2, 127))).permute(0, 3, 1, 2).float()
    exact, rounded = prepare(model, "cpu", "fp32"), prepare(model, "cpu", "int8")
    floats = crops.float().contiguous(memory_format=torch.channels_last)
    kernels = exact.template(templates)
    halved = type(kernels)(*(None if part is None else part.bfloat16() for part in kernels))
    places = torch.tensor([0, 1]), torch.tensor([0, 12]), torch.tensor([24, 12])
    answers = []
    for net, own, search in ((exact, kernels, floats), (rounded, halved, crops)):
        features = net.features(search)
        vectors = net.mask_vectors(net.patches(features, *places), own.mask)
        masks = net.refined(features, vectors, *places) if config.refine else net.mask63(vectors)
        answers.append([*net.respond(own, features), vectors, masks])
    for name, wanted, got in zip(("score", "box", "vectors", "masks"), *answers, strict=True):
        if wanted is None:
            assert got is None
            continue
        wanted, got = wanted.float().flatten(), got.float().flatten()
        assert torch.corrcoef(torch.stack([wanted, got]))[0, 1] > 0.99, name
        assert (wanted - got).square().mean().sqrt() < 0.15 * wanted.std(), name


def test_every_map_is_nearly_that_of_floats(cpu: None) -> None:
    model = network(SiamMaskConfig("resnet50", "three", True))
    errors = list(map_errors(model, pictures(6)[-2:]))
    assert [error.name for error in errors][:2] == ["backbone.conv1", "backbone.layer1.0"]
    assert len(errors) == 1 + 3 + 4 + 6 + 1
    for error in errors:
        assert 0 < error.bf16 < error.int8 < 0.08, error


def test_ranges_leave_out_the_few_largest_values() -> None:
    model = SiamMask(SiamMaskConfig("resnet18", "two", False)).eval()
    crops = pictures(2)
    whole, most = map_ranges(model, crops, share=1.0), map_ranges(model, crops, share=0.99)
    assert set(whole) == set(most)
    assert all(most[name] < whole[name] for name in whole)
    with pytest.raises(ValueError, match="there is none"):
        map_ranges(model, [])


@pytest.mark.parametrize(("stride", "padding", "signed"), list(itertools.product((1, 2), (0, 1), (False, True))))
def test_a_convolution_rounds_as_its_grids_say(stride: int, padding: int, signed: bool, cpu: None) -> None:
    torch.manual_seed(stride)
    conv = nn.Conv2d(8, 16, 3, stride, padding)
    x = torch.randint(0, 256, (2, 8, 11, 11), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    source, target = grid(2.0, signed=False), grid(1.5, signed=signed)
    got = Int8Conv(conv, source, target, relu=not signed)(x)
    scales = conv.weight.detach().abs().amax((1, 2, 3), keepdim=True) / 127
    weight = (conv.weight.detach() / scales).round() * scales
    wanted = F.conv2d(x.float() * source.scale, weight, conv.bias, stride, padding)
    wanted = (wanted / target.scale + target.zero).round().clamp(0, 255)
    assert (got.float() - wanted).abs().max() <= 1
    added = torch.randint(0, 256, got.shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    other = Grid(0.01, 128)
    wanted = F.conv2d(x.float() * source.scale, weight, conv.bias, stride, padding) + (added.float() - 128) * 0.01
    total = Int8Conv(conv, source, grid(1.5, signed=False), relu=True, added=other)(x, added)
    assert (total.float() - (wanted * 255 / 1.5).round().clamp(0, 255)).abs().max() <= 1


def test_rounded_weights_do_not_shift_a_result_on_pixels_of_the_mean(cpu: None) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(3, 8, 7)
    grey = torch.full((1, 3, 9, 9), 118, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    wanted = conv(grey.float())
    corrected, plain = (
        Int8Conv(conv, PIXELS, torch.float32, relu=False, mean=mean)(grey) for mean in (118.0, 0.0)
    )
    assert torch.allclose(corrected, wanted, atol=1e-3)
    assert not torch.allclose(plain, wanted, atol=1e-2)


def test_pooling_takes_the_largest_of_each_neighbourhood() -> None:
    x = torch.randint(0, 256, (2, 16, 13, 9), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert torch.equal(pool_integers(x).float(), F.max_pool2d(x.float(), 3, 2, 1))


def test_a_window_has_the_same_answer_in_any_company(cpu: None) -> None:
    model = network(CONFIGS[0])
    frames = [np.ascontiguousarray(np.tile(picture, (1, 2, 1))) for picture in pictures(3)]
    boxes = [(40.0 + 30 * number, 60.0, 70.0, 50.0) for number in range(3)]
    with Engine(model, PRESETS["davis"], precision="int8", max_tracks=8) as engine:
        alone = [engine.init(frame, box).result()[1] for frame, box in zip(frames, boxes, strict=True)]
        together = [engine.init(frame, box) for frame, box in zip(frames, boxes, strict=True)]
        for single, future in zip(alone, together, strict=True):
            answer = future.result()[1]
            assert np.allclose(answer.mask_probability, single.mask_probability, atol=0.02)
            assert answer.window == single.window


def test_what_cannot_be_computed_in_int8_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SiamMask(CONFIGS[1])
    with pytest.raises(ValueError, match="calibrate"):
        prepare(model, "cpu", "int8")
    with pytest.raises(ValueError, match="for CPUs"):
        resolve_precision("int8", "cuda")
    with pytest.raises(ValueError, match="compiled"):
        prepare(network(CONFIGS[1]), "cpu", "int8", compiled=True)
    monkeypatch.setattr("model.network.inference._cpu_flags", lambda: {"avx2"})
    with pytest.raises(ValueError, match=sorted(INT8_FLAGS)[0]):
        resolve_precision("int8", "cpu")
