"""vot-toolkit as a judge of our tracker, which it runs over TraX, and a sequence on which a tracker gets lost."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

STACK = """\
title: supervised
experiments:
  baseline:
    type: supervised
    repetitions: 1
    skip_initialize: 5
"""


@dataclass(frozen=True)
class Judged:
    """What vot-toolkit says of one run over one sequence.

    Attributes:
        kinds: a frame's number where it is special (0 skipped, 1 started, 2 lost), else 3.
        overlaps: float [N]; 0 where the tracker said nothing.
        failures: losses; accuracy: of the frames judged; curve: expected overlap by length.
    """

    kinds: list[int]
    overlaps: np.ndarray
    accuracy: float
    failures: float
    reliability: float
    curve: np.ndarray


def judge(folder: Path, frames: Iterable[np.ndarray], truth: np.ndarray, options: tuple[str, ...] = ()) -> Judged:
    """Run jobs/vot_tracker.py under vot-toolkit; frames are uint8 [H, W, 3] BGR, truth is [N, 8]."""
    pytest.importorskip("vot", reason="needs vot-toolkit: make setup installs it")
    pytest.importorskip("trax", reason="needs vot-trax, which has wheels for Linux on x86-64 only")
    from vot.analysis.supervised import AccuracyRobustness, EAOCurve
    from vot.region import Special, calculate_overlaps
    from vot.workspace import Workspace

    colour = folder / "sequences" / "clip" / "color"
    colour.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(colour / f"{number:08d}.png"), frame)
        height, width = frame.shape[:2]
    lines = [",".join(f"{value:.4f}" for value in row) for row in truth]
    (colour.parent / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    size = f"width={width}\nheight={height}\nlength={len(truth)}\n"
    (colour.parent / "sequence").write_text("name=clip\nfps=25\nformat=default\nchannels.color=color/%08d.png\n" + size)
    (folder / "sequences" / "list.txt").write_text("clip\n")
    command = shlex.join([sys.executable, str(ROOT / "jobs" / "vot_tracker.py"), "--device", "cpu", *options])
    (folder / "trackers.ini").write_text(f"[siammask]\nprotocol = trax\ncommand = {command}\ntimeout = 200\n")
    (folder / "stack.yaml").write_text(STACK)
    (folder / "config.yaml").write_text("registry:\n- ./trackers.ini\nstack: stack.yaml\n")

    workspace = Workspace.load(str(folder))
    experiment, sequence = workspace.stack["baseline"], workspace.dataset["clip"]
    tracker = workspace.registry["siammask"]
    experiment.execute(tracker, sequence)
    (trajectory,) = experiment.gather(tracker, sequence)
    regions = trajectory.regions()
    accuracy, failures, (reliability, _), _ = AccuracyRobustness().subcompute(experiment, tracker, sequence, [])
    (curve,) = EAOCurve().subcompute(experiment, tracker, [sequence], [])
    return Judged(
        [region.code if isinstance(region, Special) else 3 for region in regions],
        np.array(calculate_overlaps(regions, sequence.groundtruth(), sequence.size)),
        accuracy,
        failures,
        reliability,
        np.asarray(curve, float),
    )


def jumping_square(folder: Path) -> None:
    """Write 22 pictures, 220x140, of a square that leaves the search window in one jump twice, with rotated truth."""
    rng = np.random.default_rng(0)
    ground = rng.integers(110, 150, (140, 220, 3), dtype=np.uint8)
    (folder / "jump" / "color").mkdir(parents=True)
    truth = []
    for index in range(22):
        x = 25 + 2 * index if index < 6 else 190 - index if index < 17 else 30 + index
        picture = ground.copy()
        corners = np.array([[x - 14, 62], [x + 10, 52], [x + 18, 76], [x - 6, 86]])
        cv2.fillPoly(picture, [corners.astype(np.int32)], (30, 40, 200))
        cv2.imwrite(str(folder / "jump" / "color" / f"{index + 1:08d}.png"), picture)
        truth.append(",".join(map(str, corners.reshape(-1))))
    (folder / "jump" / "groundtruth.txt").write_text("\n".join(truth) + "\n")
