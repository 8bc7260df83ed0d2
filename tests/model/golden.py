"""Seeded checkpoints in the public layouts, as the reference outputs were made from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def seeded_checkpoint(shared: Path, layout: str = "official") -> dict[str, Tensor]:
    """The state dict of the published network on seeded weights, with the names of ``layout``."""
    golden = shared / "golden"
    spec = importlib.util.spec_from_file_location("seeded", golden / "seeded.py")
    assert spec and spec.loader
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    keys = json.loads((golden / "checkpoint_keys.json").read_text())
    official = dict(keys["official"])
    names = list(dict(keys[layout]))
    rename = _rename if layout == "pysot" else str
    assert sorted(map(rename, official)) == sorted(names)
    return {
        rename(name): torch.from_numpy(np.asarray(seeded.seeded_tensor(name, tuple(shape))))
        for name, shape in official.items()
    }


def _rename(official: str) -> str:
    for old, new in (
        ("features.features.", "backbone."),
        ("features.downsample.", "neck.downsample."),
        ("rpn_model.", "rpn_head."),
        ("mask_model.mask.", "mask_head."),
        ("refine_model.", "refine_head."),
    ):
        if official.startswith(old):
            return new + official[len(old) :]
    return official
