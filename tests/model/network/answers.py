"""What a network answers, to compare one way of computing it with another."""

import copy

import torch

from model.network import SiamMaskConfig
from model.network.inference import fold_batch_norm

CONFIGS = [
    SiamMaskConfig("resnet18", "three", True),
    SiamMaskConfig("resnet18", "two", False),
    SiamMaskConfig("resnet50", "three", True),
]


def plain_network(model, dtype=torch.float32):
    """A copy for inference, of plain layers."""
    plain = copy.deepcopy(model).eval()
    fold_batch_norm(plain)
    return plain.to(dtype).to(memory_format=torch.channels_last)


@torch.inference_mode()
def answers(network, batch, dtype=torch.float32):
    """All maps, responses and masks of a network on crops of noise, in float32."""
    generator = torch.Generator().manual_seed(batch)
    crops = [torch.rand(batch, 3, side, side, generator=generator).mul(255).to(dtype) for side in (127, 255)]
    template, search = (crop.to(memory_format=torch.channels_last) for crop in crops)
    features = network.features(search)
    kept = [each.clone() for each in features]
    kernels = network.template(template)
    response = network.respond(kernels, features)
    # The corners, whose windows reach outside of the maps, the middle, and places between.
    cells = torch.tensor([0, 24, 12, 7])[torch.arange(batch) % 4]
    places = torch.arange(batch), cells, cells.flip(0)
    vectors = network.mask_vectors(network.patches(features, *places), kernels.mask)
    mask = network.refined(features, vectors, *places) if network.config.refine else network.mask63(vectors)
    assert all(torch.equal(one, two) for one, two in zip(kept, features, strict=True)), "a feature map was overwritten"
    return [each.float() for each in (*features, *response, vectors, mask) if each is not None]
