"""Whole tracks on seeded weights, through the engine, against what the published tracker computed."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from model.engine import Engine
from model.masks import rle
from model.masks.finish import finish
from model.tracker import params_from_json
from model.weights import load_weights
from tests.model.golden import seeded_checkpoint

pytestmark = pytest.mark.shared

_NOT_THE_TRACKERS = ("instance_size", "base_size", "out_size")


@pytest.fixture(scope="module")
def checkpoint(shared):
    return seeded_checkpoint(shared)


def network(checkpoint, folder, refine):
    entries = {name: value for name, value in checkpoint.items() if refine or not name.startswith("refine_model.")}
    torch.save(entries, folder / "seeded.pth")
    return load_weights(folder / "seeded.pth").model


@pytest.mark.parametrize("name", ["davis_refine", "vot_refine", "vot_base63"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_track_is_the_published_one(shared, tmp_path, checkpoint, name, device):
    golden = np.load(shared / f"golden/track_{name}.npz")
    published = json.loads(str(golden["hp"]))
    params = params_from_json(json.dumps({k: v for k, v in published.items() if k not in _NOT_THE_TRACKERS}))
    frames = [cv2.imread(str(path)) for path in sorted((shared / "golden/frames").glob("*.png"))]
    height, width = golden["mask_shape"]
    with Engine(network(checkpoint, tmp_path, name.endswith("refine")), params, device=device) as engine:
        track, first = engine.init(frames[0], golden["init_box"]).result()
        assert first.box.tolist() == golden["init_box"].tolist()
        for i, frame in enumerate(frames[1:]):
            output = engine.step(track, frame).result()
            x, y, w, h = output.box
            assert (x + w / 2, y + h / 2) == pytest.approx(golden["position"][i], abs=0.05)
            assert (w, h) == pytest.approx(golden["size"][i], abs=0.05)
            assert output.score == pytest.approx(golden["score"][i], rel=1e-4)
            row = finish(output, height, width)
            mask = np.unpackbits(golden["mask_bits"][i])[: height * width].reshape(height, width) > 0
            made = rle.decode(row.rle) > 0
            assert (made & mask).sum() / (made | mask).sum() >= 0.995
            assert corner_distance(row.corners.reshape(4, 2), golden["polygon"][i]) <= 1


def corner_distance(made, wanted):
    """Largest distance of corners over the order of corners that fits best."""
    orders = [np.roll(turned, k, axis=0) for turned in (made, made[::-1]) for k in range(4)]
    return min(np.linalg.norm(order - wanted, axis=1).max() for order in orders)
