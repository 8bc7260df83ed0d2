"""What kind of file a checkpoint is, by its content, and reading it without running anything in it."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from model.weights.errors import WeightsError

Kind = Literal["safetensors", "torch"]

# What a file is when it is neither, by how it begins: the usual accidents of a download.
_OTHER_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"<!DOCTYPE", "an HTML page (a login or confirmation page in place of the file?)"),
    (b"<!doctype", "an HTML page (a login or confirmation page in place of the file?)"),
    (b"<html", "an HTML page (a login or confirmation page in place of the file?)"),
    (b"version https://git-lfs", "a Git LFS pointer (fetch the file itself with git lfs pull)"),
    (b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
)


def file_kind(path: Path) -> Kind:
    """Tell a safetensors file from a PyTorch one by its first bytes.

    Raises:
        WeightsError: it is neither; the message names what it seems to be.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size == 0:
        raise WeightsError(f"{path}: is empty; expected a checkpoint")
    if size > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        return "torch"
    for start, meaning in _OTHER_KINDS:
        if head.startswith(start):
            raise WeightsError(f"{path}: is {meaning}; expected a safetensors or PyTorch checkpoint")
    raise WeightsError(f"{path}: is no checkpoint (safetensors or PyTorch); it begins with {head[:12]!r}")


def file_digest(path: Path) -> str:
    """SHA-256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a PyTorch checkpoint: the file's own dict, or the one under ``state_dict``.

    Only tensors and plain values are unpickled; a file that wants anything else to be built is refused.
    A ``module.`` prefix, as data-parallel training leaves it, is dropped.
    """
    # Training bookkeeping of the published files holds NumPy scalars: plain data.
    harmless: list[Any] = [np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)), type(np.dtype(np.int64))]
    harmless.append(np._core.multiarray.scalar)  # type: ignore[attr-defined]
    try:
        # As a file without a name: torch.load goes by the suffix, and this one is told by its content.
        with torch.serialization.safe_globals(harmless), path.open("rb") as file:
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path}: holds Python objects other than tensors and is not loaded, since unpickling them "
            f"could run code; save its state dict alone ({reason})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: is damaged or no PyTorch checkpoint ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not a state dict of tensors")
    named = {str(name).removeprefix("module."): value for name, value in content.items()}
    odd = sorted(name for name, value in named.items() if not isinstance(value, Tensor))
    if odd:
        raise WeightsError(f"{path}: entry {odd[0]!r} is {type(named[odd[0]]).__name__}, expected a tensor")
    return named
