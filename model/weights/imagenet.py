"""Start a ResNet-18 SiamMask from ImageNet weights whose batch norm is folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model.network import SiamMask
from model.weights.errors import WeightsError

# RGB statistics of ImageNet that the weights expect, for pixels in 0..1.
_MEAN = np.array([0.485, 0.456, 0.406], np.float64)
_STD = np.array([0.229, 0.224, 0.225], np.float64)


def load_imagenet_resnet18(model: SiamMask, npz_path: str | Path) -> None:
    """Fill ``conv1`` to ``layer3`` of ``model``'s backbone in place.

    The normalisation and the colour order of the source (RGB, /255, mean and deviation) go into the stem, so
    that it takes BGR in 0..255. The stem has no padding, so the fold is exact.

    Args:
        npz_path: torchvision names (``layer1.0.conv1.weight``, …), weight and bias with batch norm folded.

    Raises:
        WeightsError: the model is no ResNet-18 one, or an entry is missing or misshapen.
    """
    if model.config.backbone != "resnet18":
        raise WeightsError(f"{npz_path}: fits a resnet18 backbone, the model has {model.config.backbone}")
    source = {name: np.asarray(value, np.float64) for name, value in np.load(npz_path).items()}
    stem = source["conv1.weight"]
    source["conv1.bias"] = source["conv1.bias"] - (stem * (_MEAN / _STD)[None, :, None, None]).sum((1, 2, 3))
    source["conv1.weight"] = (stem / (255 * _STD)[None, :, None, None])[:, ::-1]
    state = model.backbone.state_dict()
    for name, value in state.items():
        if name not in source:
            raise WeightsError(f"{npz_path}: lacks entry {name}")
        if source[name].shape != tuple(value.shape):
            raise WeightsError(
                f"{npz_path}: entry {name} has shape {source[name].shape}, expected {tuple(value.shape)}"
            )
    filled = {name: torch.from_numpy(np.ascontiguousarray(source[name])).float() for name in state}
    model.backbone.load_state_dict(filled)
