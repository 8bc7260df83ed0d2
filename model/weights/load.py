"""Load and save SiamMask weights: our safetensors, and the two public layouts of the published checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.network import SiamMask, SiamMaskConfig
from model.weights.errors import WeightsError
from model.weights.files import file_digest, file_kind, read_torch
from model.weights.layouts import Layout, detect, has_refine, public_name

FORMAT = "siammask-batch/1"
_FROM_PUBLIC_FILES = {"licence": "as published with the checkpoint (the official and PySOT files are for research use)"}


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A network ready to track, and what its file says of itself.

    Attributes:
        model: in eval mode, float32, on the CPU.
        layout: ``siammask-batch``, ``official`` or ``pysot``.
        digest: SHA-256 of the file, hex.
        metadata: what the file records: ``name``, ``licence``, ``tracker`` (hyper-parameters), ``int8`` and more.
    """

    model: SiamMask
    layout: str
    digest: str
    metadata: dict[str, Any] = field(default_factory=dict)


def load_weights(path: str | Path) -> LoadedWeights:
    """Load a checkpoint, told apart by its content.

    Raises:
        WeightsError: the file is of another kind, or an entry is missing, extra, misshapen or not finite.
    """
    path = Path(path)
    if file_kind(path) == "safetensors":
        config, metadata, entries = _read_safetensors(path)
        model = _build(path, config, entries)
        model.int8_ranges = _int8_ranges(path, metadata)
        model.int8_lossless = bool(model.int8_ranges) and metadata["int8"].get("lossless") is True
        return LoadedWeights(model, "siammask-batch", file_digest(path), metadata)
    entries = read_torch(path)
    layout = detect(entries)
    if layout is None:
        examples = ", ".join(sorted(entries)[:3])
        raise WeightsError(
            f"{path}: is a PyTorch checkpoint of another network (entries such as {examples}); "
            "expected SiamMask in the official or PySOT layout"
        )
    config = SiamMaskConfig("resnet50", "three", has_refine(layout, entries))
    model = _build(path, config, entries, layout)
    return LoadedWeights(model, layout, file_digest(path), {"name": path.stem, **_FROM_PUBLIC_FILES})


def save_weights(
    path: str | Path, model: SiamMask, *, metadata: Mapping[str, Any], dtype: torch.dtype = torch.float16
) -> None:
    """Write our format: safetensors in ``dtype`` with configuration and ``metadata`` (JSON values) in the header."""
    entries = {
        name: _shrink(value, dtype).contiguous().cpu()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    header = {"format": FORMAT, "config": model.config.to_json(), "metadata": json.dumps(dict(metadata))}
    save_file(entries, str(path), metadata=header)


def _shrink(value: Tensor, dtype: torch.dtype) -> Tensor:
    """``value`` in ``dtype``, unless its range needs the wider type (batch-norm variances of raw pixels do)."""
    if not value.is_floating_point():
        return value
    small = value.to(dtype)
    return small if bool(torch.isfinite(small).all()) else value


def _read_safetensors(path: Path) -> tuple[SiamMaskConfig, dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(
                    f"{path}: is a safetensors file without our header (format {header.get('format')!r}, "
                    f"expected {FORMAT!r}); expected one that save_weights or `model.weights convert` wrote"
                )
            config = SiamMaskConfig.from_json(header.get("config", "{}"))
            metadata = json.loads(header.get("metadata", "{}"))
            return config, metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: is a damaged safetensors file ({error})") from error
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, WeightsError) else WeightsError(f"{path}: {error}") from error


def _build(path: Path, config: SiamMaskConfig, entries: Mapping[str, Tensor], layout: Layout | None = None) -> SiamMask:
    model = SiamMask(config)
    expected = model.state_dict()
    names = {(public_name(layout, ours) if layout else ours): ours for ours in expected}
    # PyTorch before 0.4.1 counted no batches, and inference never reads the count.
    required = [name for name in names if not name.endswith("num_batches_tracked")]
    _fail(path, "lacks", (name for name in required if name not in entries))
    _fail(path, "has unexpected", (name for name in entries if name not in names))
    for name, value in entries.items():
        want = tuple(expected[names[name]].shape)
        if tuple(value.shape) != want:
            raise WeightsError(f"{path}: entry {name} has shape {tuple(value.shape)}, expected {want}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: entry {name} holds NaN or infinity")
    own = {names[name]: value.to(expected[names[name]].dtype) for name, value in entries.items()}
    model.load_state_dict({**expected, **own})
    return model.eval()


def _int8_ranges(path: Path, metadata: Mapping[str, Any]) -> dict[str, float]:
    """The ranges that `model.weights calibrate` has recorded, by module; none where it has not."""
    record = metadata.get("int8") or {}
    try:
        return {str(name): float(value) for name, value in record.get("ranges", {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the ranges for int8 in its header are damaged ({error})") from error


def _fail(path: Path, problem: str, names: Iterable[str]) -> None:
    entries = sorted(names)
    if entries:
        more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
        word = "entry" if len(entries) == 1 else "entries"
        raise WeightsError(f"{path}: {problem} {word} {', '.join(entries[:3])}{more}")
