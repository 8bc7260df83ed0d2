"""The weights that a run starts from: fetched by every worker, and tried before there are any."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import storage
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.training.config import TrainingConfig


def fetch_weights(uri: str, folder: Path) -> Path:
    """A weights file as a local one of the same name in `folder`.

    Raises:
        StorageError: it cannot be read.
    """
    path = folder / "origin" / storage.name(uri)
    path.parent.mkdir(exist_ok=True)
    storage.download(uri, path)
    return path


def check_weights(config: TrainingConfig, *, start: str | None, backbone: str | None) -> None:
    """Raise UsageError, naming option and file, where a run cannot start from the one of them given."""
    from model.training.origin import starting_model

    option, uri = ("start", start) if start else ("backbone", backbone)
    if uri is None:
        return
    with tempfile.TemporaryDirectory(prefix="siammask-weights-") as folder:
        try:
            path = fetch_weights(uri, Path(folder))
        except storage.NotFound as error:
            raise UsageError(f"--{option} {uri}: there is no such file") from error
        except storage.StorageError as error:
            raise UsageError(f"--{option}: {error}") from error
        try:
            starting_model(config, **{option: path})
        except ValueError as error:
            raise UsageError(f"--{option} {str(error).replace(str(path), uri)}") from error
