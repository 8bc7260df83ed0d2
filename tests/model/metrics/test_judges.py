"""Our measures against the field's own: vos-benchmark and trackeval for masks, vot-toolkit for polygons and runs."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from model.metrics import boundary_f, polygon_overlap, region_j, statistics
from model.metrics.supervised import State, Trajectory, judged_overlaps
from model.metrics.vot import EAO_WINDOWS, scores

WIDTH, HEIGHT = 200, 180


def blobs(seed: int, frames: int = 24, size: tuple[int, int] = (120, 160)) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks of a moving ellipse and of a tracker that follows it badly, uint8; both are empty at times."""
    rng = np.random.default_rng(seed)
    truth: list[np.ndarray] = []
    found: list[np.ndarray] = []
    for index in range(frames):
        centre = np.array([30 + 4 * index, 60 + 10 * np.sin(index / 4)])
        for masks, off in ((truth, np.zeros(2)), (found, rng.normal(0, 4, 2))):
            mask = np.zeros(size, np.uint8)
            x, y = (centre + off).astype(int).tolist()
            cv2.ellipse(mask, (x, y), (24, 13), float(seed * 20 + index), 0, 360, 1, -1)
            masks.append(mask)
    for index in (5, 6):
        truth[index][:] = 0
    for index in (6, 9):
        found[index][:] = 0
    return truth, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_j_and_f_are_those_of_vos_benchmark(seed: int) -> None:
    judge = pytest.importorskip("vos_benchmark.evaluator", reason="needs vos-benchmark: make setup installs it")
    truth, found = blobs(seed)
    evaluator = judge.Evaluator()
    for mask, true in zip(found, truth, strict=True):
        evaluator.feed_frame(mask, true)
    for mask, true, j, f in zip(found, truth, evaluator.object_iou[1], evaluator.boundary_f[1], strict=True):
        assert region_j(mask, true) == pytest.approx(j, abs=1e-6)
        assert boundary_f(mask, true) == pytest.approx(f, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mean_recall_and_decay_are_those_of_trackeval(seed: int) -> None:
    judge = pytest.importorskip("trackeval.metrics", reason="needs trackeval: make setup installs it")
    truth, found = blobs(seed)

    def encoded(masks: list[np.ndarray]) -> list[list[dict]]:
        return [[coco.encode(np.asfortranarray(mask))] for mask in masks]

    data = {
        "num_timesteps": len(truth),
        "num_tracker_ids": 1,
        "num_gt_ids": 1,
        "gt_dets": encoded(truth),
        "tracker_dets": encoded(found),
        "gt_ids": [np.array([0])] * len(truth),
        "tracker_ids": [np.array([0])] * len(truth),
    }
    theirs = judge.JAndF().eval_sequence(data)
    j = statistics([region_j(*pair) for pair in zip(found, truth, strict=True)])
    f = statistics([boundary_f(*pair) for pair in zip(found, truth, strict=True)])
    for name, ours in (("J", j), ("F", f)):
        for what in ("Mean", "Recall", "Decay"):
            assert getattr(ours, what.lower()) == pytest.approx(theirs[f"{name}-{what}"], abs=1e-6), (name, what)


def polygon(rng: np.random.Generator, kind: int) -> np.ndarray:
    """A box turned by any angle, in or partly out of the frame; or very thin, level, or no box at all."""
    if kind == 3:
        return rng.uniform(-20, 220, (int(rng.integers(3, 8)), 2))
    w, h = rng.uniform(5, 90, 2) * (np.array([1, 0.02]) if kind == 2 else 1)
    angle = 0.0 if kind == 1 else rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rng.uniform(-20, 220, 2) + np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ turn.T


@pytest.mark.parametrize("kind", range(4), ids=["turned", "level", "thin", "any"])
def test_polygon_overlap_is_vot_toolkits(kind: int) -> None:
    region = pytest.importorskip("vot.region", reason="needs vot-toolkit: make setup installs it")
    from vot.region.shapes import Polygon

    rng = np.random.default_rng(kind)
    between = 0
    for index in range(300):
        one = polygon(rng, kind)
        two = one + rng.normal(0, 8, 2) if index % 3 else polygon(rng, kind)
        theirs = region.calculate_overlap(
            Polygon([tuple(p) for p in one]), Polygon([tuple(p) for p in two]), (WIDTH, HEIGHT)
        )
        assert polygon_overlap(one, two, WIDTH, HEIGHT) == pytest.approx(theirs, abs=1e-12), (one, two)
        between += 0 < theirs < 1
    assert between > 20


def made_trajectory(seed: int, frames: int, losses: tuple[int, ...]) -> tuple[Trajectory, np.ndarray]:
    """A run that is lost at given frames, with the truth float32 [N, 8] that gives its overlaps."""
    rng = np.random.default_rng(seed)
    corners = np.array([[40, 50], [120, 60], [110, 140], [30, 130]], np.float32)
    truth = np.stack([(corners + 20 * np.sin(i / 30)).reshape(8) for i in range(frames)]).astype(np.float32)
    said = truth + rng.normal(0, 9, (frames, 8)).astype(np.float32)
    states = np.full(frames, State.TRACKED, np.int8)
    states[0] = State.STARTED
    for loss in losses:
        states[loss], states[loss + 1 : loss + 5] = State.LOST, State.SKIPPED
        if loss + 5 < frames:
            states[loss + 5] = State.STARTED
    overlaps = np.array([polygon_overlap(a, b, WIDTH, HEIGHT) for a, b in zip(said, truth, strict=True)])
    overlaps[(states == State.SKIPPED) | (states == State.STARTED)] = np.nan
    overlaps[states == State.LOST] = 0
    return Trajectory(f"s{seed}", states, said, overlaps), truth


SETS: dict[str, list[tuple[int, tuple[int, ...]]]] = {
    "no loss": [(300, ()), (210, ()), (140, ())],
    "losses": [(300, (40, 47, 220)), (450, (130,)), (140, ())],
    "loss at the end": [(120, (50, 118)), (260, (255,)), (380, (375,)), (150, (12,))],
    "shorter than the window": [(60, (20,)), (80, ())],
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_accuracy_robustness_and_eao_are_vot_toolkits(name: str) -> None:
    analysis = pytest.importorskip("vot.analysis.supervised", reason="needs vot-toolkit: make setup installs it")
    from vot.region import Special
    from vot.region.shapes import Polygon

    def regions(polygons: np.ndarray) -> list:
        return [Polygon([tuple(point) for point in each.reshape(4, 2).tolist()]) for each in polygons]

    made = [made_trajectory(seed, frames, losses) for seed, (frames, losses) in enumerate(SETS[name])]
    sequences, runs = [], {}
    for trajectory, truth in made:
        said = [
            region if state == State.TRACKED else Special(int(state))
            for region, state in zip(regions(trajectory.polygons), trajectory.states, strict=True)
        ]
        sequence = _Sequence(trajectory.name, regions(truth))
        sequences.append(sequence)
        runs[sequence.name] = [SimpleNamespace(regions=lambda said=said: said)]
    experiment = SimpleNamespace(gather=lambda tracker, sequence: runs[sequence.name])

    parts = [analysis.AccuracyRobustness().subcompute(experiment, None, each, None) for each in sequences]
    accuracy, failures, (reliability, _), _ = analysis.AverageAccuracyRobustness().aggregate(None, sequences, parts)
    (curve,) = analysis.EAOCurve().subcompute(experiment, None, sequences, None)
    low, high = EAO_WINDOWS["vot2018"]["vot-toolkit"]

    ours = scores([trajectory for trajectory, _ in made], "vot-toolkit", (low, high))
    for (trajectory, _), (their_accuracy, their_failures, _, _) in zip(made, parts, strict=True):
        assert judged_overlaps(trajectory).mean() == pytest.approx(their_accuracy, abs=1e-6)
        assert len(trajectory.losses) == their_failures
    assert ours.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert ours.robustness == pytest.approx(failures, abs=1e-6)
    assert ours.reliability == pytest.approx(reliability, abs=1e-6)
    assert ours.curve == pytest.approx(np.asarray(curve, float), abs=1e-6)
    assert ours.eao == pytest.approx(np.mean(curve[low : high + 1]), abs=1e-6, nan_ok=True)


class _Sequence:
    """As much of vot-toolkit's sequence as its analyses ask for."""

    def __init__(self, name: str, truth: list) -> None:
        self.name, self.size, self._truth = name, (WIDTH, HEIGHT), truth

    def groundtruth(self) -> list:
        return self._truth

    def __len__(self) -> int:
        return len(self._truth)
