"""The tracker: hyper-parameters and presets, a track's state, and the batched choice of the next box."""

from model.tracker.choose import Choice, Chooser
from model.tracker.params import PRESETS, PresetError, TrackerParams, load_params, params_from_json
from model.tracker.state import TrackState

__all__ = [
    "PRESETS",
    "Choice",
    "Chooser",
    "PresetError",
    "TrackState",
    "TrackerParams",
    "load_params",
    "params_from_json",
]
