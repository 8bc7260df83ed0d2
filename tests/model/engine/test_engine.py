"""The engine's answers: they do not depend on company, padding or order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.engine import Engine
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, alone, lively, same

pytestmark = pytest.mark.usefixtures("one_runner")


def test_the_network_of_these_tests_sees_its_input(wanted):
    boxes = np.array([path[-1].box for path in wanted])
    masks = np.array([path[-1].mask_probability.mean() for path in wanted])
    assert len({tuple(box) for box in boxes}) == len(boxes)
    assert masks.std() > 1e-3
    moves = [np.abs(path[-1].box - path[0].box).max() for path in wanted]
    assert np.median(moves) > 1


@pytest.mark.parametrize(("count", "batch_sizes"), [(1, [4]), (3, []), (3, [1, 2, 4, 8]), (16, []), (6, [8])])
def test_batches_and_padding_change_nothing(model, frames, wanted, count, batch_sizes):
    with Engine(model, PRESETS["vot"], max_tracks=16, batch_sizes=batch_sizes) as engine:
        begun = [engine.init(frames[0], box) for box in BOXES[:count]]
        tracks, paths = [future.result()[0] for future in begun], [[future.result()[1]] for future in begun]
        for frame in frames[1:]:
            for path, future in zip(paths, [engine.step(track, frame) for track in tracks], strict=True):
                path.append(future.result())
        stats = engine.stats()
    for path, other in zip(paths, wanted, strict=False):
        same(path, other)
    assert stats.tracks == count * len(frames)
    assert count == 1 or stats.mean_batch > 1  # they did run together
    assert stats.busy_s > 0


def test_any_interleaving_of_callers_changes_nothing(model, frames, wanted):
    rng = np.random.default_rng(1)
    pauses = rng.uniform(0, 0.03, (8, len(frames)))
    with Engine(model, PRESETS["vot"], max_tracks=3) as engine:

        def clip(i):
            time.sleep(pauses[i, 0])
            track, output = engine.init(frames[0], BOXES[i]).result()
            path = [output]
            for frame, pause in zip(frames[1:], pauses[i, 1:], strict=True):
                time.sleep(pause)
                path.append(engine.step(track, frame).result())
            return path

        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(clip, range(8)))
    for path, other in zip(paths, wanted, strict=False):
        same(path, other)


@pytest.mark.parametrize(("variant", "refine"), [("three", False), ("two", True), ("two", False)])
def test_other_networks_track_too(variant, refine, frames):
    network = lively(variant, refine)
    single = alone(network, frames[:2], BOXES[:3])
    with Engine(network, PRESETS["vot"], max_tracks=4) as engine:
        first = [future.result() for future in [engine.init(frames[0], box) for box in BOXES[:3]]]
        for box, (_, output) in zip(BOXES, first, strict=False):
            assert output.box == pytest.approx(box)
            assert output.mask_probability.shape == ((127, 127) if refine else (63, 63))
        second = [future.result() for future in [engine.step(track, frames[1]) for track, _ in first]]
    assert len({path[1].score for path in single}) == 3
    for path, (_, begun), output in zip(single, first, second, strict=True):
        same([begun, output], path)


def test_init_leaves_the_state_and_scores_one(model, frames):
    with Engine(model, PRESETS["vot"]) as engine:
        track, first = engine.init(frames[0], (40, 30, 30, 20)).result()
        assert first.score == first.presence == 1
        assert first.box.tolist() == [40, 30, 30, 20]
        assert track.state.box.tolist() == [40, 30, 30, 20]
        assert first.threshold == PRESETS["vot"].mask_threshold
        x, y, w, h = first.window
        assert x < 55 < x + w
        assert w == h > 30


def test_reversed_channels_are_read_as_bgr(model, frames):
    views = [np.ascontiguousarray(frame[..., ::-1])[..., ::-1] for frame in frames]
    same(alone(model, views, BOXES[:1])[0], alone(model, frames, BOXES[:1])[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_stay_near(model, frames, wanted, precision):
    for path, other in zip(alone(model, frames[:2], BOXES[:2], precision=precision), wanted, strict=False):
        for output, reference in zip(path, other, strict=False):
            assert output.mask_probability.dtype == np.float32
            assert output.score == pytest.approx(reference.score, abs=0.08)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(model, frames, wanted):
    with Engine(model, PRESETS["vot"], device="cuda", max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES]]
        for i, frame in enumerate(frames[1:], 1):
            for path, future in zip(wanted, [engine.step(track, frame) for track in tracks], strict=True):
                output, reference = future.result(), path[i]
                assert output.box == pytest.approx(reference.box, abs=0.05)
                assert output.score == pytest.approx(reference.score, abs=1e-3)
                assert output.window == pytest.approx(reference.window, abs=0.05)
                assert abs(output.mask_probability - reference.mask_probability).max() < 0.01
