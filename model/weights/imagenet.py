"""Start a ResNet-18 SiamMask from ImageNet weights, with their batch norm folded into the convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from model.network import SiamMask
from model.weights.errors import WeightsError
from model.weights.files import read_torch

# RGB statistics of ImageNet that the weights expect, for pixels in 0..1.
_MEAN = np.array([0.485, 0.456, 0.406], np.float64)
_STD = np.array([0.229, 0.224, 0.225], np.float64)
# Added to the variances by torchvision's batch norm.
_EPSILON = 1e-5


def load_imagenet_resnet18(model: SiamMask, path: str | Path) -> None:
    """Fill ``conv1`` to ``layer3`` of ``model``'s backbone in place.

    The normalisation and the colour order of the source (RGB, /255, mean and deviation) go into the stem, so
    that it takes BGR in 0..255. The stem has no padding, so the fold is exact.

    Args:
        path: torchvision's checkpoint of ResNet-18 (``resnet18-….pth``), whose batch norm is folded into the
            convolutions here; or a ``.npz`` with its names (``layer1.0.conv1.weight``, …) where that is done.

    Raises:
        WeightsError: the model is no ResNet-18 one, or the file or an entry is missing, unreadable or misshapen.
    """
    path = Path(path)
    if model.config.backbone != "resnet18":
        raise WeightsError(f"{path}: fits a resnet18 backbone, the model has {model.config.backbone}")
    source = _read_folded(path) if path.suffix == ".npz" else _fold(read_torch(path), path)
    state = model.backbone.state_dict()
    for name, value in state.items():
        if name not in source:
            raise WeightsError(f"{path}: lacks entry {name}")
        if source[name].shape != tuple(value.shape):
            raise WeightsError(f"{path}: entry {name} has shape {source[name].shape}, expected {tuple(value.shape)}")
    stem = source["conv1.weight"]
    source["conv1.bias"] = source["conv1.bias"] - (stem * (_MEAN / _STD)[None, :, None, None]).sum((1, 2, 3))
    source["conv1.weight"] = (stem / (255 * _STD)[None, :, None, None])[:, ::-1]
    filled = {name: torch.from_numpy(np.ascontiguousarray(source[name])).float() for name in state}
    model.backbone.load_state_dict(filled)


def _read_folded(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as entries:
            return {name: np.asarray(value, np.float64) for name, value in entries.items()}
    except (OSError, ValueError, BadZipFile) as error:
        raise WeightsError(f"{path}: is no readable .npz file ({error})") from error


def _fold(entries: Mapping[str, Tensor], path: Path) -> dict[str, np.ndarray]:
    """Convolutions of torchvision's ResNet with weight and bias, each with the batch norm that follows it."""
    folded = {}
    for name, weight in entries.items():
        if weight.ndim != 4:
            continue
        layer = name.removesuffix(".weight")
        norm = "bn".join(layer.rsplit("conv", 1)).replace("downsample.0", "downsample.1")
        try:
            scale, shift, mean, variance = (
                entries[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
            )
        except KeyError as error:
            raise WeightsError(f"{path}: lacks entry {error.args[0]}; expected torchvision's ResNet-18") from error
        factor = scale / torch.sqrt(variance + _EPSILON)
        folded[f"{layer}.weight"] = (weight.double() * factor[:, None, None, None]).numpy()
        folded[f"{layer}.bias"] = (shift - mean * factor).numpy()
    return folded
