"""Many tracks on one device: callers hand in frames, one thread batches whatever is ready.

A caller cuts its own crop (so crops run side by side) and gets a future. The engine's thread takes the requests
that wait, runs them as one batch and resolves the futures. On CUDA two batches are in flight, so that callers
post-process one while the device works on the other.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.live_track import Request, Track, TrackOutput, init_request, mask_window, step_request
from model.network import SiamMask
from model.prepare import Precision
from model.stepper import Flight, StepInput, Stepper, StepResult
from model.tracker import TrackerParams

__all__ = ["Engine", "EngineStats", "Track", "TrackOutput"]

log = logging.getLogger(__name__)

_BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_GATHER_S = 0.001  # longest wait for more requests than one


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
            smallest before this returns, so that a missing compiler shows.
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
        self._depth = 2 if on_cuda else 1
        self._limit = max_tracks
        self._wake = threading.Condition()
        self._pending: deque[Request] = deque()
        self._tracks: weakref.WeakSet[Track] = weakref.WeakSet()
        self._closing = False
        self._steps = self._stepped = 0
        self._idle_s = 0.0
        self._since = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="siammask-engine", daemon=True)
        self._thread.start()

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
        """Return counts and times so far; idle is the time in which nothing was on the device."""
        total = time.perf_counter() - self._since
        return EngineStats(self._steps, self._stepped, max(0.0, total - self._idle_s), self._idle_s)

    def close(self) -> None:
        """Finish the batch under way, fail the requests that wait, and end the thread. May be called again."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit(self, request: Request) -> Future[Any]:
        with self._wake:
            if self._closing:
                return _failed(RuntimeError("the engine is closed"))
            request.track.latest = request.future
            self._tracks.add(request.track)
            self._pending.append(request)
            self._wake.notify()
        return request.future

    def _run(self) -> None:
        flights: deque[tuple[list[Request], Flight]] = deque()
        try:
            while True:
                if len(flights) < self._depth:
                    batch = self._take(flights[0][1] if flights else None)
                    if batch:
                        self._launch(batch, flights)
                        if len(flights) < self._depth:
                            continue
                if flights:
                    self._land(*flights.popleft())
                elif self._closing:
                    return
        finally:
            with self._wake:
                self._closing = True
                waiting = [each for each in self._pending if each.future.set_running_or_notify_cancel()]
                self._pending.clear()
            for request in [*waiting, *(request for batch, _ in flights for request in batch)]:
                request.future.set_exception(RuntimeError("the engine was closed before this frame was tracked"))

    def _take(self, flight: Flight | None) -> list[Request]:
        """Wait for requests and take up to a batch of them.

        With a batch in flight, waits until that one is done or the next is full; otherwise until there is a
        request and then a moment longer for the tracks that are about to have one.
        """
        with self._wake:
            begin = time.perf_counter()
            while flight is None and not self._pending and not self._closing:
                self._wake.wait()
            deadline = time.perf_counter() + _GATHER_S
            while not self._closing and len(self._pending) < self._wanted():
                if flight is None:
                    left = deadline - time.perf_counter()
                    if left <= 0:
                        break
                    self._wake.wait(left)
                elif flight.ready():
                    break
                else:
                    self._wake.wait(_GATHER_S / 5)
            if flight is None:
                self._idle_s += time.perf_counter() - begin
            if self._closing:
                return []
            taken = [self._pending.popleft() for _ in range(min(self._limit, len(self._pending)))]
        return [request for request in taken if request.future.set_running_or_notify_cancel()]

    def _wanted(self) -> int:
        """As many requests as make a batch worth starting: the live tracks, shared by the batches in flight."""
        return min(self._limit, max(1, -(-len(self._tracks) // self._depth)))

    def _launch(self, batch: list[Request], flights: deque[tuple[list[Request], Flight]]) -> None:
        """Start a batch; one that fails is tried again in halves, down to the request at fault."""
        try:
            started = [request for request in batch if request.template is not None]
            if started:
                made = self._stepper.templates([request.template for request in started])  # type: ignore[misc]
                for request, kernels in zip(started, made, strict=True):
                    request.track.kernels = kernels
            flights.append((batch, self._stepper.launch([self._input(request) for request in batch])))
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            half = len(batch) // 2
            if isinstance(error, torch.cuda.OutOfMemoryError):
                self._limit = max(1, half)
                log.warning("out of device memory with %d tracks: at most %d from now on", len(batch), self._limit)
                torch.cuda.empty_cache()
            for part in (batch[:half], batch[half:]):
                while flights:
                    self._land(*flights.popleft())
                self._launch(part, flights)

    def _input(self, request: Request) -> StepInput:
        track = request.track
        if track.kernels is None:
            raise RuntimeError("the track has no template: it was not started by this engine")
        return StepInput(
            track.kernels, request.search, track.state, request.window.scale, track.frame_size,
            hold=request.template is not None,
        )  # fmt: skip

    def _land(self, batch: list[Request], flight: Flight) -> None:
        try:
            results = flight.result()
        except Exception as error:
            for request in batch:
                request.future.set_exception(error)
            return
        self._steps += 1
        self._stepped += len(batch)
        for request, result in zip(batch, results, strict=True):
            self._resolve(request, result)

    def _resolve(self, request: Request, result: StepResult) -> None:
        track, started = request.track, request.template is not None
        values = (result.score, result.state.centre_x, result.state.centre_y, result.state.width, result.state.height)
        if not np.isfinite(values).all():
            request.future.set_exception(FloatingPointError("the network answered with NaN or infinity for this frame"))
            return
        track.state = result.state
        output = TrackOutput(
            score=1.0 if started else result.score,
            box=result.state.box,
            mask_probability=result.mask,
            window=mask_window(request.window, result.row, result.column),
            threshold=self.params.mask_threshold,
        )
        request.future.set_result((track, output) if started else output)


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
