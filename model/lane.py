"""A lane of an engine: a thread that takes batches, runs them on the device and resolves their futures."""

from __future__ import annotations

import logging
import threading
from collections import deque

import numpy as np
import torch

from model.live_track import Request, TrackOutput, mask_window
from model.request_queue import RequestQueue
from model.stepper import Flight, StepInput, Stepper, StepResult

log = logging.getLogger(__name__)


class Lane(threading.Thread):
    """Works until the queue is closed, then fails what is left in it.

    Args:
        queue: where requests come from; its other lanes may use the same stepper.
        stepper: runs the batches.
        depth: batches in flight at a time.
        threshold: mask probability above which a pixel is object.
    """

    def __init__(self, queue: RequestQueue, stepper: Stepper, *, depth: int, threshold: float, number: int = 0) -> None:
        super().__init__(name=f"siammask-lane-{number}", daemon=True)
        self.steps = self.tracks = 0  # batches done, and the tracks in them
        self._queue, self._stepper, self._depth, self._threshold = queue, stepper, depth, threshold
        self._flights: deque[tuple[list[Request], Flight]] = deque()
        self._threads = 0

    def run(self) -> None:
        queue, flights = self._queue, self._flights
        try:
            while True:
                if len(flights) < self._depth:
                    batch = queue.take(flights[0][1] if flights else None)
                    if batch:
                        self._begin()
                        self._launch(batch)
                        if 0 < len(flights) < self._depth:
                            continue
                if flights:
                    self._land(*flights.popleft())
                elif queue.closed:
                    return
                if not flights:
                    self._end()
        finally:
            queue.close()
            self._end()
            for request in [*queue.drain(), *(request for batch, _ in flights for request in batch)]:
                request.future.set_exception(RuntimeError("the engine was closed before this frame was tracked"))

    def _begin(self) -> None:
        if self._threads:
            return
        self._threads = self._queue.claim()
        if self._stepper.device.type == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # of this thread

    def _end(self) -> None:
        if self._threads:
            self._queue.give_back(self._threads)
        self._threads = 0

    def _launch(self, batch: list[Request]) -> None:
        """Start a batch; one that fails is tried again in halves, down to the request at fault."""
        try:
            started = [request for request in batch if request.template is not None]
            if started:
                made = self._stepper.templates([request.template for request in started])  # type: ignore[misc]
                for request, kernels in zip(started, made, strict=True):
                    request.track.kernels = kernels
            self._flights.append((batch, self._stepper.launch([_input(request) for request in batch])))
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            half = len(batch) // 2
            if isinstance(error, torch.cuda.OutOfMemoryError):
                self._queue.limit = max(1, half)
                log.warning("out of device memory with %d tracks: at most %d from now on", len(batch), max(1, half))
                torch.cuda.empty_cache()
            for part in (batch[:half], batch[half:]):
                while self._flights:
                    self._land(*self._flights.popleft())
                self._launch(part)

    def _land(self, batch: list[Request], flight: Flight) -> None:
        try:
            results = flight.result()
        except Exception as error:
            for request in batch:
                request.future.set_exception(error)
            return
        self.steps += 1
        self.tracks += len(batch)
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
            threshold=self._threshold,
        )
        request.future.set_result((track, output) if started else output)


def _input(request: Request) -> StepInput:
    track = request.track
    if track.kernels is None:
        raise RuntimeError("the track has no template: it was not started by this engine")
    return StepInput(
        track.kernels, request.search, track.state, request.window.scale, track.frame_size,
        hold=request.template is not None,
    )  # fmt: skip
