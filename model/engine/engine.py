"""Many tracks on one device: callers hand in frames, the engine batches whatever is ready.

A caller cuts its own crop (so crops run side by side) and gets a future. A runner, a thread of the engine's, takes the
requests that wait, runs them as one batch and resolves the futures. A GPU has one runner with two batches in flight, so
that callers post-process one while the device works on the other. A CPU has as many runners as threads: cores that
work on batches of their own do not wait for each other at every layer, as those do that share one, and what else
runs on a core holds up that core alone. A runner has the threads that no other runner needs; a single track has all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.engine.request_queue import RequestQueue
from model.engine.runner import BatchRunner
from model.engine.stepper import Stepper
from model.engine.track import Request, Track, TrackOutput, init_request, step_request
from model.engine.ways import StepTrial, fastest_stepper
from model.network import SiamMask
from model.network.inference import Precision
from model.tracker import TrackerParams
from model.tracker.presence import GENERIC, PresenceFit
from model.tracker.rivals import ALONE, Others

__all__ = ["Engine", "EngineStats", "Track", "TrackOutput"]

_BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine has done since it was made; `mean_batch` is tracks a step."""

    steps: int
    tracks: int
    busy_s: float
    idle_s: float

    @property
    def mean_batch(self) -> float:
        return self.tracks / self.steps if self.steps else 0.0


class Engine:
    """Steps many tracks together on one device. Thread-safe; use as a context manager or call `close`.

    Args:
        model: the network; a prepared copy is made.
        params: the tracker's hyper-parameters.
        presence: the fit for these weights; a generic one by default.
        device: "cpu", "cuda", "cuda:1", …
        precision: "fp32", "bf16", "fp16" or, on a CPU, "int8"; `model.network.fastest.chosen_precision` has "auto".
        max_tracks: most tracks in one batch; more may be alive.
        batch_sizes: sizes that batches are padded to, so that few shapes occur; by default a fixed set on CUDA
            and for a compiled step, and none otherwise on a CPU, where padding costs in proportion.
        compiled: compile the step with `torch.compile`: about a minute for each batch size that occurs, the
            smallest before this returns, so that a missing compiler shows. A compiled step has one runner.
        deterministic: compute every track by itself, on one thread of a CPU, and by no measured choice of kernels or
            ways: what else is tracked, and how busy the machine is, then changes not a bit.

    On a GPU the ways to compute a step are tried first (`model.engine.ways`), for some seconds where this kind of GPU
    is new; `trials` says what came of them.

    On a CPU the network has as many threads as torch uses in the thread that makes the engine. The runners set torch's
    number of threads to their own parts of them, which other threads of the process see too; `close` sets it back.
    """

    def __init__(
        self,
        model: SiamMask,
        params: TrackerParams,
        *,
        presence: PresenceFit = GENERIC,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        max_tracks: int = 16,
        batch_sizes: Sequence[int] | None = None,
        compiled: bool = False,
        deterministic: bool = False,
    ) -> None:
        if max_tracks < 1:
            raise ValueError(f"max_tracks must be 1 or more, not {max_tracks}")
        if deterministic:
            max_tracks = 1
        on_cuda = torch.device(device).type == "cuda"
        if batch_sizes is None:
            few = [size for size in _BATCH_SIZES if size < max_tracks] + [max_tracks]
            batch_sizes = few if on_cuda or compiled else []
        self.params, self.precision = params, precision
        self._stepper = Stepper(
            model, params, device=device, precision=precision, batch_sizes=batch_sizes, compiled=compiled,
            measures=not deterministic,
        )  # fmt: skip
        self.device_kind, self.trials = self._stepper.device.kind, list[StepTrial]()
        if on_cuda and not compiled and not deterministic:
            self._stepper, self.trials = _fastest(self._stepper, model, params, device, precision)
        threads = 1 if on_cuda else torch.get_num_threads()
        runners, depth = 1 if on_cuda or compiled else threads, 2 if on_cuda else 1
        self._queue = RequestQueue(
            runners=runners, depth=depth, threads=threads, limit=max_tracks, spreads=not deterministic
        )
        self._runners = [
            BatchRunner(
                self._queue,
                self._stepper,
                depth=depth,
                threshold=params.mask_threshold,
                presence=presence,
                takes_back=params.joint,
                number=number,
            )
            for number in range(runners)
        ]
        for runner in self._runners:
            runner.start()

    def init(self, frame: np.ndarray, box: Sequence[float] | np.ndarray) -> Future[tuple[Track, TrackOutput]]:
        """Start a track and read its mask on the same frame, without moving its state.

        Args:
            frame: uint8 [H, W, 3] BGR; any strides, read before this returns.
            box: x, y, w, h in pixels of the frame.

        Returns:
            A future of the track and its output on this frame (score 1, the box as given). It fails with
            ValueError where frame or box cannot be used.
        """
        try:
            request = init_request(frame, box, self.params)
        except Exception as error:
            return _failed(error)
        return self._submit(request)

    def step(
        self, track: Track, frame: np.ndarray, others: Others = ALONE, *, again: bool = False
    ) -> Future[TrackOutput]:
        """Track one object into the next frame.

        Args:
            track: from `init`; its step before must have been resolved.
            frame: uint8 [H, W, 3] BGR of the init frame's size; any strides, read before this returns.
            others: the frame's other objects.
            again: whether the step before was on the same frame, and is taken back; only where the engine's parameters
                are for joint choice.

        Returns:
            A future of the output. Where it fails the track stays as it was. After `model.errors.DeviceLost` every
            request of this engine fails with it.
        """
        try:
            request = step_request(track, frame, self.params.context, others, again=again)
        except Exception as error:
            return _failed(error)
        return self._submit(request)

    def stats(self) -> EngineStats:
        """Return counts and times so far; a CPU of which one thread in two works is half busy, half idle."""
        busy, idle = self._queue.times()
        return EngineStats(
            sum(runner.steps for runner in self._runners), sum(runner.tracks for runner in self._runners), busy, idle
        )

    def close(self) -> None:
        """Finish the batches under way, fail the requests that wait, and end the threads. May be called again."""
        self._queue.close()
        for runner in self._runners:
            runner.join()
        if len(self._runners) > 1:
            torch.set_num_threads(self._queue.threads)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit(self, request: Request) -> Future[Any]:
        return request.future if self._queue.put(request) else _failed(self._queue.refusal())


def _fastest(
    stepper: Stepper, model: SiamMask, params: TrackerParams, device: torch.device | str, precision: Precision
) -> tuple[Stepper, list[StepTrial]]:
    """The stepper that goes the fastest way on this device, and what came of all ways."""

    def exact() -> Stepper:
        if precision == "fp32":
            return stepper
        return Stepper(model, params, device=device, precision="fp32", batch_sizes=stepper.batch_sizes)

    return fastest_stepper(stepper, exact, key=f"{precision} {model.config} torch {torch.__version__}")


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
