"""The engine: results do not depend on company, padding or order; failures stay with their own request."""

from __future__ import annotations

import functools
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from model.engine import Engine
from model.network import SiamMask, SiamMaskConfig
from model.prepare import prepare, resolve_precision
from model.tracker import PRESETS
from tests.model.tracks import BOXES, alone, cpu_threads, lively, same, texture


@pytest.fixture(scope="module")
def model():
    return lively()


@pytest.fixture(scope="module")
def frames():
    return texture()


@pytest.fixture(scope="module")
def wanted(model, frames):
    return alone(model, frames, BOXES)


@pytest.fixture(autouse=True)
def one_lane():
    with cpu_threads(1):
        yield


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


@pytest.mark.parametrize("variant", ["three", "two"])
def test_a_compiled_step_answers_the_same(model, frames, wanted, monkeypatch, variant):
    """Every batch size is compiled as a whole; the code generator, which needs a C++ compiler, stands aside here."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
    if variant == "two":
        model = lively(variant)
        wanted = alone(model, frames, BOXES)
    with Engine(model, PRESETS["vot"], max_tracks=3, compiled=True) as engine:
        assert len(graphs) == 1
        for count in (1, 2, 3):
            begun = [engine.init(frames[0], box) for box in BOXES[:count]]
            tracks, paths = [future.result()[0] for future in begun], [[future.result()[1]] for future in begun]
            for frame in frames[1:]:
                for path, future in zip(paths, [engine.step(track, frame) for track in tracks], strict=True):
                    path.append(future.result())
            for path, other in zip(paths, wanted, strict=False):
                same(path, other)
    assert 2 <= len(graphs) <= 3


def test_what_cannot_be_compiled_shows_when_the_engine_is_made(model, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    with pytest.raises(Exception, match="no C\\+\\+ compiler"):
        Engine(model, PRESETS["vot"], compiled=True)


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
        assert first.score == 1
        assert first.box.tolist() == [40, 30, 30, 20]
        assert track.state.box.tolist() == [40, 30, 30, 20]
        assert first.threshold == PRESETS["vot"].mask_threshold
        x, y, w, h = first.window
        assert x < 55 < x + w
        assert w == h > 30


def test_reversed_channels_are_read_as_bgr(model, frames):
    views = [np.ascontiguousarray(frame[..., ::-1])[..., ::-1] for frame in frames]
    same(alone(model, views, BOXES[:1])[0], alone(model, frames, BOXES[:1])[0])


def test_a_bad_request_fails_alone(model, frames, wanted):
    with Engine(model, PRESETS["vot"], max_tracks=4) as engine:
        futures = [
            engine.init(frames[0], BOXES[0]),
            engine.init(frames[0], (500, 500, 10, 10)),
            engine.init(frames[0][..., 0], BOXES[1]),
            engine.init(frames[0], BOXES[1]),
        ]
        with pytest.raises(ValueError, match="outside the 160x120 frame"):
            futures[1].result()
        with pytest.raises(ValueError, match="uint8"):
            futures[2].result()
        (track, _), (other, _) = futures[0].result(), futures[3].result()
        small, good = engine.step(track, frames[1][:60]), engine.step(other, frames[1])
        with pytest.raises(ValueError, match="160x60, but the track started on 160x120"):
            small.result()
        same([good.result()], [wanted[1][1]])
        same([engine.step(track, frames[1]).result()], [wanted[0][1]])  # and the track can go on


def test_a_track_steps_one_frame_at_a_time(model, frames):
    with Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        first, second = engine.step(track, frames[1]), engine.step(track, frames[2])
        with pytest.raises(RuntimeError, match="step under way"):
            second.result()
        first.result()


def test_an_answer_that_is_not_finite_fails_its_own_track(model, frames):
    broken = lively()
    with torch.no_grad():
        broken.box.head[3].bias.fill_(float("nan"))
    with Engine(broken, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()  # the init frame's state is held
        with pytest.raises(FloatingPointError, match="NaN"):
            engine.step(track, frames[1]).result()
        assert np.isfinite(track.state.box).all()


class Choking:
    """Stands in for a device that holds no more than two windows, or refuses one of them."""

    def __init__(self, stepper, error, refuses):
        self._launch, self._error, self._refuses = stepper.launch, error, refuses
        self.sizes: list[int] = []

    def __call__(self, inputs):
        self.sizes.append(len(inputs))
        if self._refuses(inputs):
            raise self._error
        return self._launch(inputs)


def test_out_of_memory_halves_the_batch(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:8]]]
        error = torch.cuda.OutOfMemoryError("no memory")
        choking = Choking(engine._stepper, error, lambda inputs: len(inputs) > 2)
        monkeypatch.setattr(engine._stepper, "launch", choking)
        outputs = [future.result() for future in [engine.step(track, frames[1]) for track in tracks]]
        choking.sizes.clear()
        again = [engine.step(track, frames[2]) for track in tracks]
        for future in again:
            future.result()
        assert max(choking.sizes) <= 2  # it does not try the large batch again
    for output, path in zip(outputs, wanted, strict=False):
        same([output], [path[1]])


def test_a_failure_on_the_device_is_charged_to_its_request(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:5]]]
        poison = tracks[3].kernels
        choking = Choking(
            engine._stepper, ArithmeticError("bad"), lambda inputs: any(item.kernels is poison for item in inputs)
        )
        monkeypatch.setattr(engine._stepper, "launch", choking)
        futures = [engine.step(track, frames[1]) for track in tracks]
        for i, future in enumerate(futures):
            if i == 3:
                with pytest.raises(ArithmeticError, match="bad"):
                    future.result()
            else:
                same([future.result()], [wanted[i][1]])


def test_close_fails_what_waits_and_ends_the_thread(model, frames, monkeypatch):
    engine = Engine(model, PRESETS["vot"], max_tracks=1)
    tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:3]]]
    entered, go = threading.Event(), threading.Event()
    launch = engine._stepper.launch

    def slow(inputs):
        entered.set()
        go.wait(10)
        return launch(inputs)

    monkeypatch.setattr(engine._stepper, "launch", slow)
    futures = [engine.step(track, frames[1]) for track in tracks]
    entered.wait(10)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while not engine._queue.closed:
        time.sleep(0.001)
    go.set()
    closing.join(20)
    assert not closing.is_alive()
    assert not any(lane.is_alive() for lane in engine._lanes)
    outcomes = [future.exception(timeout=5) for future in futures]
    assert outcomes[0] is None
    assert all("closed" in str(outcome) for outcome in outcomes[1:])
    with pytest.raises(RuntimeError, match="closed"):
        engine.step(tracks[0], frames[1]).result()
    engine.close()


def test_cancelled_requests_are_dropped(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=1) as engine:
        tracks = [engine.init(frames[0], box).result()[0] for box in BOXES[:2]]
        entered, go = threading.Event(), threading.Event()
        launch = engine._stepper.launch

        def slow(inputs):
            entered.set()
            go.wait(10)
            return launch(inputs)

        monkeypatch.setattr(engine._stepper, "launch", slow)
        running, waiting = (engine.step(track, frames[1]) for track in tracks)
        entered.wait(10)
        assert waiting.cancel()
        go.set()
        running.result()
        same([engine.step(tracks[1], frames[1]).result()], [wanted[1][1]])


def test_finished_tracks_are_not_waited_for(model, frames):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:4]]]
        assert engine._queue._wanted() == 4
        del tracks[1:]
        engine.step(tracks[0], frames[1]).result()  # the engine's thread lets go of the batch before
        gc.collect()
        assert engine._queue._wanted() == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_stay_near(model, frames, wanted, precision):
    for path, other in zip(alone(model, frames[:2], BOXES[:2], precision=precision), wanted, strict=False):
        for one, reference in zip(path, other, strict=False):
            assert one.mask_probability.dtype == np.float32
            assert one.score == pytest.approx(reference.score, abs=0.08)


def test_prepare_folds_batch_norm_and_keeps_the_original():
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet50", "three", refine=True)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ready = prepare(model, "cpu", "fp32")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
    crop = torch.randint(0, 255, (1, 3, 127, 127)).float()
    with torch.inference_mode():
        for one, other in zip(model.template(crop), ready.template(crop), strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * one.abs().max().item())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_precision_by_hardware(monkeypatch):
    monkeypatch.setattr("model.prepare._cpu_flags", lambda: {"sse", "avx512_bf16"})
    assert resolve_precision("auto", "cpu") == "bf16"
    monkeypatch.setattr("model.prepare._cpu_flags", lambda: {"sse", "avx2"})
    assert resolve_precision("auto", "cpu") == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert resolve_precision("auto", "cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert resolve_precision("auto", "cuda:1") == "bf16"
    assert resolve_precision("fp16", "cpu") == "fp16"
    with pytest.raises(ValueError, match="unknown precision 'int8'"):
        resolve_precision("int8", "cpu")


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(model, frames, wanted):
    with Engine(model, PRESETS["vot"], device="cuda", max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES]]
        for i, frame in enumerate(frames[1:], 1):
            for path, future in zip(wanted, [engine.step(track, frame) for track in tracks], strict=True):
                assert future.result().box == pytest.approx(path[i].box, abs=0.05)
