"""Hyper-parameters of the tracker, the published presets, and presets from JSON files."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

# Names that published configuration files use for the same thing.
_ALIASES = {"seg_thr": "mask_threshold", "context_amount": "context"}


class PresetError(ValueError):
    """A preset is unknown or its values are unusable; the message names which and what is allowed."""


@dataclass(frozen=True, slots=True)
class TrackerParams:
    """How responses become the next box and mask.

    Attributes:
        penalty_k: how strongly changes of scale and ratio lower a candidate's score, 0 or more.
        window_influence: share of the cosine window in the ranking, 0 to 1.
        lr: rate at which the size follows the chosen candidate, 0 to 1.
        mask_threshold: probability above which a pixel is object, between 0 and 1.
        context: margin about the target, as a share of width plus height.
        recovery: whether a lost object is searched for, see `model.tracker.recovery`.
        joint: whether the objects of a clip are chosen together, see `model.track.joint_choice`.
        mask_box: whether a row's box is that of its mask, where there is one, and not the tracker's, which lags it.

    Raises:
        PresetError: a value is not a finite number in its range.
    """

    penalty_k: float
    window_influence: float
    lr: float
    mask_threshold: float
    context: float = 0.5
    recovery: bool = False
    joint: bool = False
    mask_box: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (
            ("penalty_k", 0.0, math.inf),
            ("window_influence", 0.0, 1.0),
            ("lr", 0.0, 1.0),
            ("mask_threshold", 0.0, 1.0),
            ("context", 0.0, math.inf),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise PresetError(f"{name} must be a number, not {value!r}")
            if not least <= value <= most:
                wanted = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
                raise PresetError(f"{name} must be {wanted}, not {value!r}")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise PresetError(f"{name} must be true or false, not {getattr(self, name)!r}")

    def to_json(self) -> str:
        """Return the values as JSON with sorted keys: equal parameters give equal text."""
        numbers = {name: value if isinstance(value, bool) else float(value) for name, value in asdict(self).items()}
        # A switch that is off is left out: it changes nothing of what there was before it.
        return json.dumps({name: value for name, value in numbers.items() if value is not False}, sort_keys=True)


SWITCHES = ("recovery", "joint", "mask_box")
"""What the published tracker does not have; off in its presets."""
PRESETS: dict[str, TrackerParams] = {
    "vot": TrackerParams(penalty_k=0.04, window_influence=0.42, lr=0.25, mask_threshold=0.30),
    "vot18": TrackerParams(penalty_k=0.10, window_influence=0.41, lr=0.32, mask_threshold=0.15),
    "davis": TrackerParams(penalty_k=0.04, window_influence=0.40, lr=1.0, mask_threshold=0.35),
    "robust": TrackerParams(0.04, 0.42, 0.25, 0.50, recovery=True, joint=True, mask_box=True),  # the bundled model's
    "default": TrackerParams(penalty_k=0.09, window_influence=0.39, lr=0.38, mask_threshold=0.30),
}


def robust(params: TrackerParams) -> TrackerParams:
    """The parameters with all that the published tracker does not have switched on."""
    return replace(params, **dict.fromkeys(SWITCHES, True))


def published(params: TrackerParams) -> TrackerParams:
    """The parameters with nothing but the published tracker."""
    return replace(params, **dict.fromkeys(SWITCHES, False))


def params_from_json(text: str, source: str = "preset") -> TrackerParams:
    """Read hyper-parameters from a JSON object.

    Keys are those of `TrackerParams` (`seg_thr` and `context_amount`, as published files call them, too). Any
    that are left out come from the preset named by "preset", or else from "default".

    Args:
        text: the JSON text.
        source: the name of the file, for messages.

    Raises:
        PresetError: it is not a JSON object, or names or values are wrong; the message names `source` and the key.
    """
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        raise PresetError(f"{source}: not JSON: {error}") from error
    if not isinstance(read, dict):
        raise PresetError(f"{source}: expected a JSON object of hyper-parameters, found {type(read).__name__}")
    base = read.pop("preset", "default")
    if not isinstance(base, str) or base not in PRESETS:
        raise PresetError(f"{source}: no preset {base!r}; there are {', '.join(PRESETS)}")
    names = {field.name for field in fields(TrackerParams)}
    values = asdict(PRESETS[base])
    seen: set[str] = set()
    for key, value in read.items():
        name = _ALIASES.get(key, key)
        if name not in names:
            raise PresetError(f"{source}: unknown hyper-parameter {key!r}; there are {', '.join(sorted(names))}")
        if name in seen:
            raise PresetError(f"{source}: {name} is given twice, once as {key!r}")
        seen.add(name)
        values[name] = value
    try:
        return TrackerParams(**values)
    except PresetError as error:
        raise PresetError(f"{source}: {error}") from error


def load_params(preset: str) -> TrackerParams:
    """Return a published preset by name, or read a JSON file by path.

    Raises:
        PresetError: neither a preset of this name nor a readable, valid file.
    """
    if preset in PRESETS:
        return PRESETS[preset]
    try:
        text = Path(preset).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PresetError(
            f"preset {preset!r} is neither one of {', '.join(PRESETS)} nor a readable JSON file: {error}"
        ) from error
    return params_from_json(text, preset)
