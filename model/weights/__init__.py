"""Weights of SiamMask: reading the public checkpoints and ours, writing ours."""

from model.weights.errors import WeightsError
from model.weights.imagenet import load_imagenet_resnet18
from model.weights.load import LoadedWeights, load_weights, save_weights

__all__ = ["LoadedWeights", "WeightsError", "load_imagenet_resnet18", "load_weights", "save_weights"]
