"""The model of a run: checked once by the driver, then carried to every actor as it was checked.

Actors get the file's bytes from the driver, so that a file replaced during a run changes nothing, and the
nodes need no access to where the weights lie.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.options import RotatedBox, UsageError
from pipeline.scratch import scratch_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.engine import Engine
    from model.prepare import Precision
    from pipeline.clips import ObjectStart
    from pipeline.placement import Placement


EngineBuilder = Callable[["RunModel", "Placement", "Precision"], Any]
"""Makes the engine of one actor (`pipeline.tracking.TrackingEngine`, with `stats` and `close`); see `build_engine`."""


@dataclass(frozen=True, slots=True)
class RunModel:
    """A checked weights file and how it tracks.

    Attributes:
        name: for the ``model`` column.
        digest: SHA-256 of the file, hex.
        layout: ``siammask-batch``, ``official`` or ``pysot``.
        network: the network's configuration.
        tracker: the tracker's hyper-parameters, as JSON.
        metadata: what the file records of itself, licence included.
        content: the file.
    """

    name: str
    digest: str
    layout: str
    network: dict[str, Any]
    tracker: str
    metadata: dict[str, Any]
    content: bytes

    @property
    def tracker_params(self) -> dict[str, float]:
        """The tracker's hyper-parameters by name."""
        return json.loads(self.tracker)


def check_model(weights_uri: str, preset: str | None) -> RunModel:
    """Load and check weights and preset.

    Raises:
        UsageError: the file cannot be fetched or is no usable checkpoint, or the preset is unknown or invalid.
    """
    from model.tracker import PRESETS, PresetError, load_params, params_from_json
    from model.weights import WeightsError, load_weights

    with tempfile.TemporaryDirectory(prefix="siammask-weights-") as folder:
        try:
            location = storage.parse(weights_uri).uri
            local = Path(folder) / (storage.name(location) or "weights")
            storage.download(location, local)
            loaded = load_weights(local)
        except storage.StorageError as error:
            raise UsageError(f"--weights: {error}") from error
        except WeightsError as error:
            raise UsageError(f"--weights {str(error).replace(str(local), weights_uri)}") from error
        content = local.read_bytes()
    try:
        if preset is not None:
            params = load_params(preset)
        elif "tracker" in loaded.metadata:
            params = params_from_json(json.dumps(loaded.metadata["tracker"]), f"{weights_uri} (tracker)")
        else:
            params = PRESETS["default"]
    except PresetError as error:
        raise UsageError(f"--preset: {error}") from error
    return RunModel(
        name=str(loaded.metadata.get("name") or Path(location).stem),
        digest=loaded.digest,
        layout=loaded.layout,
        network=json.loads(loaded.model.config.to_json()),
        tracker=params.to_json(),
        metadata={key: value for key, value in loaded.metadata.items() if key != "tracker"},
        content=content,
    )


def config_hash(model: RunModel, *, stride: int, rotated_box: RotatedBox) -> str:
    """SHA-256, hex, over what changes results: weights, tracker, stride and rotated-box rule."""
    decisive = {
        "weights": model.digest,
        "tracker": model.tracker_params,
        "stride": stride,
        "rotated_box": rotated_box,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def resolve_precision(precision: str, placement: Placement) -> Precision:
    """The precision that the hardware of this process computes in, for ``auto`` too."""
    from model.prepare import resolve_precision

    return resolve_precision(precision, placement.device)


def build_engine(model: RunModel, placement: Placement, precision: Precision) -> Engine:
    """Make the engine of one actor from the checked file."""
    import torch

    from model.engine import Engine
    from model.tracker import params_from_json
    from model.weights import load_weights

    if placement.device == "cpu":
        torch.set_num_threads(placement.threads)
    with scratch_folder() as folder:
        local = folder / "weights"
        local.write_bytes(model.content)
        network = load_weights(local).model
    return Engine(
        network,
        params_from_json(model.tracker),
        device=placement.device,
        precision=precision,
        max_tracks=placement.max_tracks,
        compiled=placement.compiled,
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """The model's geometry for `pipeline.tracking`: from a manifest object to its box, from an answer to a row."""

    rule: RotatedBox = "mbr"

    def init_box(self, start: ObjectStart, height: int, width: int) -> NDArray[np.float64]:
        """The axis-aligned box (x, y, w, h) that starts an object's track; ValueError where there is none."""
        import numpy as np

        from model.initial_box import box_from_polygon, box_from_rle

        if start.polygon is not None:
            return np.array(box_from_polygon(start.polygon))
        if start.mask is not None:
            return np.array(box_from_rle(dict(start.mask), height, width))
        return np.array(start.box, np.float64)

    def finish(self, output: Any, height: int, width: int) -> Any:
        """The mask's run lengths, area and rotated box in the full frame; see `model.masks.finish`."""
        from model.masks import finish

        return finish(output, height, width, self.rule)
