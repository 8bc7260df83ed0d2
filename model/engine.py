"""Many tracks on one device: callers hand in frames, the engine batches whatever is ready.

A caller cuts its own crop (so crops run side by side) and gets a future. A lane, a thread of the engine's, takes the
requests that wait, runs them as one batch and resolves the futures. A GPU has one lane with two batches in flight, so
that callers post-process one while the device works on the other. A CPU has as many lanes as threads: cores that
work on batches of their own do not wait for each other at every layer, as those do that share one, and what else
runs on a core holds up that core alone. A lane has the threads that no other lane needs; a single track has all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.lane import Lane
from model.live_track import Request, Track, TrackOutput, init_request, step_request
from model.network import SiamMask
from model.prepare import Precision
from model.request_queue import RequestQueue
from model.stepper import Stepper
from model.tracker import TrackerParams

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
        device: "cpu", "cuda", "cuda:1", …
        precision: "fp32", "bf16" or "fp16" (see `model.prepare.resolve_precision` for "auto").
        max_tracks: most tracks in one batch; more may be alive.
        batch_sizes: sizes that batches are padded to, so that few shapes occur; by default a fixed set on CUDA
            and for a compiled step, and none otherwise on a CPU, where padding costs in proportion.
        compiled: compile the step with `torch.compile`: about a minute for each batch size that occurs, the
            smallest before this returns, so that a missing compiler shows. A compiled step has one lane.

    On a CPU the network has as many threads as torch uses in the thread that makes the engine. The lanes set torch's
    number of threads to their own parts of them, which other threads of the process see too; `close` sets it back.
    """

    def __init__(
        self,
        model: SiamMask,
        params: TrackerParams,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        max_tracks: int = 16,
        batch_sizes: Sequence[int] | None = None,
        compiled: bool = False,
    ) -> None:
        if max_tracks < 1:
            raise ValueError(f"max_tracks must be 1 or more, not {max_tracks}")
        on_cuda = torch.device(device).type == "cuda"
        if batch_sizes is None:
            few = [size for size in _BATCH_SIZES if size < max_tracks] + [max_tracks]
            batch_sizes = few if on_cuda or compiled else []
        self.params = params
        self._stepper = Stepper(
            model, params, device=device, precision=precision, batch_sizes=batch_sizes, compiled=compiled
        )
        threads = 1 if on_cuda else torch.get_num_threads()
        lanes, depth = 1 if on_cuda or compiled else threads, 2 if on_cuda else 1
        self._queue = RequestQueue(lanes=lanes, depth=depth, threads=threads, limit=max_tracks)
        self._lanes = [
            Lane(self._queue, self._stepper, depth=depth, threshold=params.mask_threshold, number=number)
            for number in range(lanes)
        ]
        for lane in self._lanes:
            lane.start()

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
            request = init_request(frame, box, self.params.context)
        except Exception as error:
            return _failed(error)
        return self._submit(request)

    def step(self, track: Track, frame: np.ndarray) -> Future[TrackOutput]:
        """Track one object into the next frame.

        Args:
            track: from `init`; its step before must have been resolved.
            frame: uint8 [H, W, 3] BGR of the init frame's size; any strides, read before this returns.

        Returns:
            A future of the output. Where it fails the track stays as it was.
        """
        try:
            request = step_request(track, frame, self.params.context)
        except Exception as error:
            return _failed(error)
        return self._submit(request)

    def stats(self) -> EngineStats:
        """Return counts and times so far; a CPU of which one thread in two works is half busy, half idle."""
        busy, idle = self._queue.times()
        return EngineStats(
            sum(lane.steps for lane in self._lanes), sum(lane.tracks for lane in self._lanes), busy, idle
        )

    def close(self) -> None:
        """Finish the batches under way, fail the requests that wait, and end the threads. May be called again."""
        self._queue.close()
        for lane in self._lanes:
            lane.join()
        if len(self._lanes) > 1:
            torch.set_num_threads(self._queue.threads)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit(self, request: Request) -> Future[Any]:
        return request.future if self._queue.put(request) else _failed(RuntimeError("the engine is closed"))


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
