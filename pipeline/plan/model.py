"""The model of a run: checked once by the driver, then carried to every actor as it was checked.

Actors get the file's bytes from the driver, so that a file replaced during a run changes nothing, and the
nodes need no access to where the weights lie.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.plan.options import RotatedBox
from pipeline.storage.scratch import scratch_folder

if TYPE_CHECKING:
    from model.network import SiamMask


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

    def load(self) -> SiamMask:
        """The network of the checked file."""
        from model.weights import load_weights

        with scratch_folder() as folder:
            local = folder / "weights"
            local.write_bytes(self.content)
            return load_weights(local).model


def check_model(weights_uri: str, preset: str | None) -> RunModel:
    """Load and check weights and preset.

    Raises:
        UsageError: the file cannot be fetched or is no usable checkpoint, or the preset is unknown or invalid.
    """
    from model.tracker import PRESETS, PresetError, load_params, params_from_json
    from model.tracker.presence import PresenceError, presence_of
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
    try:
        presence_of(loaded.metadata)
    except PresenceError as error:
        raise UsageError(f"--weights {weights_uri}: {error}") from error
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
