"""The tracker: hyper-parameters and presets, and a track's state. `choose` and `evidence` alone import torch."""

from model.tracker.params import PRESETS, PresetError, TrackerParams, load_params, params_from_json
from model.tracker.state import TrackState

__all__ = [
    "PRESETS",
    "PresetError",
    "TrackState",
    "TrackerParams",
    "load_params",
    "params_from_json",
]
