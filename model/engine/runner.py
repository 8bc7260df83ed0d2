"""A runner of an engine: a thread that takes batches, runs them on the device and resolves their futures."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from dataclasses import replace

import numpy as np
import torch

from model.engine.request_queue import RequestQueue
from model.engine.stepper import Flight, StepInput, Stepper, StepResult
from model.engine.track import Crop, Request, TrackOutput, is_on_another, mask_window, peak_place
from model.errors import DeviceLost, device_lost, out_of_memory
from model.tracker.presence import LOST_BELOW, PresenceFit, TrackMemory
from model.tracker.recovery import Recovery
from model.tracker.state import TrackState

log = logging.getLogger(__name__)

MEMORY_PAUSES_S = (0.2, 1.0, 4.0)
"""Before a single request that the device had no memory for is tried again; after the last it fails."""

UNCONFIRMED = LOST_BELOW - 0.01
"""Most presence of what a lost track answers with where it is nothing that may be its object."""


class BatchRunner(threading.Thread):
    """Works until the queue is closed or the device is lost, then fails what is left, its own batches and the queue's.

    Args:
        queue: where requests come from; its other runners may use the same stepper.
        stepper: runs the batches.
        depth: batches in flight at a time.
        threshold: mask probability above which a pixel is object.
        presence: makes a probability of cues.
        takes_back: whether tracks remember how they stood before their last step.
    """

    def __init__(
        self,
        queue: RequestQueue,
        stepper: Stepper,
        *,
        depth: int,
        threshold: float,
        presence: PresenceFit,
        takes_back: bool = False,
        number: int = 0,
    ) -> None:
        super().__init__(name=f"siammask-runner-{number}", daemon=True)
        self.steps = self.tracks = 0  # batches done, and the tracks in them
        self._queue, self._stepper, self._depth = queue, stepper, depth
        self._threshold, self._presence, self._takes_back = threshold, presence, takes_back
        self._flights: deque[tuple[list[Request], Flight]] = deque()
        self._taken: list[Request] = []  # what was taken from the queue last, until it is in flight or answered
        self._threads = 0

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            if not isinstance(error, DeviceLost):
                log.exception("a thread of the engine ended")
                error = DeviceLost(f"a thread of the engine ended: {type(error).__name__}: {error}")
            self._queue.close(error)
        finally:
            self._end()
            unanswered = [*self._taken, *(request for batch, _ in self._flights for request in batch)]
            for request in [*self._queue.drain(), *unanswered]:
                if not request.future.done():
                    request.future.set_exception(self._queue.refusal())

    def _work(self) -> None:
        queue, flights = self._queue, self._flights
        while True:
            if len(flights) < self._depth:
                batch = queue.take(flights[0][1] if flights else None)
                if batch:
                    self._begin()
                    self._taken = batch
                    self._launch(batch)
                    self._taken = []
                    if 0 < len(flights) < self._depth:
                        continue
            if flights:
                self._land()
            elif queue.closed:
                return
            if not flights:
                self._end()

    def _begin(self) -> None:
        if self._threads:
            return
        self._threads = self._queue.claim()
        if self._stepper.device.torch_device.type == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # of this thread

    def _end(self) -> None:
        if self._threads:
            self._queue.give_back(self._threads)
        self._threads = 0

    def _launch(self, batch: list[Request]) -> None:
        """Start a batch; one that fails is tried again in halves, down to the request at fault.

        A single request for which the device has no memory is tried again after pauses, since others use it too.

        Raises:
            DeviceLost: the device does not work any more.
        """
        error = self._attempt(batch)
        pauses = iter(MEMORY_PAUSES_S)
        while error is not None:
            no_memory = out_of_memory(error)
            while self._flights:
                self._land()
            if no_memory:
                self._stepper.device.release_memory()
            if len(batch) > 1:
                half = len(batch) // 2
                if no_memory and self._queue.lower_limit(half):
                    log.warning("out of device memory with %d tracks: at most %d for a while", len(batch), half)
                self._launch(batch[:half])
                while self._flights:
                    self._land()
                self._launch(batch[half:])
                return
            pause = next(pauses, None) if no_memory else None
            if pause is None or self._queue.wait_closed(pause):
                batch[0].future.set_exception(error)
                return
            error = self._attempt(batch)

    def _attempt(self, batch: list[Request]) -> Exception | None:
        """Start a batch; returns what went wrong, which holds no tensor of the attempt."""
        try:
            started = [request for request in batch if request.template is not None]
            if started:
                made = self._stepper.templates([request.template for request in started])  # type: ignore[misc]
                for request, kernels in zip(started, made, strict=True):
                    request.track.kernels = kernels
            inputs = [_input(request, crop) for request in batch for crop in request.crops]
            self._flights.append((batch, self._stepper.launch(inputs)))
            return None
        except Exception as error:
            return _without_frames(error)

    def _land(self) -> None:
        """Wait for the batch that was started first, and answer its requests."""
        batch, flight = self._flights[0]
        try:
            results = flight.result()
        except Exception as error:
            fault = _without_frames(error)
            for request in batch:
                request.future.set_exception(fault)
        else:
            self.steps += 1
            self.tracks += len(batch)
            self._queue.succeeded(len(batch))
            remaining = iter(results)
            for request in batch:
                self._resolve(request, list(itertools.islice(remaining, len(request.crops))))
        self._flights.popleft()

    def _resolve(self, request: Request, results: list[StepResult]) -> None:
        track, started = request.track, request.template is not None
        if not all(map(_is_finite, results)):
            request.future.set_exception(FloatingPointError("the network answered with NaN or infinity for this frame"))
            return
        if self._takes_back:
            track.remember()
        if request.is_rigid:
            results = [_with_size(result, crop.look.state) for result, crop in zip(results, request.crops, strict=True)]
        presence, cues, chosen = 1.0, None, 0
        if started or track.memory is None:
            track.memory = TrackMemory.start(results[0].evidence)
        elif track.recovery is not None and track.recovery.is_lost:
            chosen, presence, cues = self._search(track.recovery, track.memory, request, results)
        else:
            result = results[0]
            cues = track.memory.cues(result.evidence, result.score, track.state, result.state)
            probability = float(self._presence.probability(cues))
            presence = self._presence.shown(probability)
            if track.recovery is not None:
                track.recovery.followed(probability, result.state, peak_place(request.crops[0], result.evidence))
        result = results[chosen]
        track.state = result.state
        output = TrackOutput(
            score=1.0 if started else result.score,
            box=result.state.box,
            mask_probability=result.mask,
            window=mask_window(request.crops[chosen].window, result.row, result.column),
            threshold=self._threshold,
            presence=presence,
            cues=cues,
            is_searched=track.recovery is not None and track.recovery.is_lost,
        )
        request.future.set_result((track, output) if started else output)

    def _search(
        self, recovery: Recovery, memory: TrackMemory, request: Request, results: list[StepResult]
    ) -> tuple[int, float, np.ndarray]:
        """Judge the looks of a lost track: which is the answer, its presence and cues."""
        cues = np.array([memory.glance(result.evidence, result.score) for result in results])
        probabilities = self._presence.probability(cues).tolist()
        for i, (crop, result) in enumerate(zip(request.crops, results, strict=True)):
            if is_on_another(crop, result.row, result.column, result.mask, self._threshold):
                probabilities[i] = 0.0
        peaks = [peak_place(crop, result.evidence) for crop, result in zip(request.crops, results, strict=True)]
        chosen = recovery.searched(probabilities, [result.state for result in results], peaks)
        presence = self._presence.shown(probabilities[chosen])
        if recovery.is_lost:
            return chosen, presence if recovery.has_find else min(presence, UNCONFIRMED), cues[chosen]
        memory.resume(results[chosen].evidence)
        return chosen, presence, cues[chosen]


def _is_finite(result: StepResult) -> bool:
    state = result.state
    return bool(np.isfinite((result.score, state.centre_x, state.centre_y, state.width, state.height)).all())


def _with_size(result: StepResult, state: TrackState) -> StepResult:
    """The outcome with the size of another state."""
    return replace(result, state=replace(result.state, width=state.width, height=state.height))


def _input(request: Request, crop: Crop) -> StepInput:
    track = request.track
    if track.kernels is None:
        raise RuntimeError("the track has no template: it was not started by this engine")
    return StepInput(
        track.kernels, crop.pixels, crop.look.state, crop.window.scale, track.frame_size,
        hold=request.template is not None, is_free=crop.look.is_free,
        avoid=crop.look.avoid,
    )  # fmt: skip


def _without_frames(error: Exception) -> Exception:
    """The error without its traceback, whose frames hold the tensors of what failed, and its requests in a circle.

    Raises:
        DeviceLost: the error is one after which the device does not work any more.
    """
    log.debug("a batch failed", exc_info=error)
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__, cause = None, cause.__cause__ or cause.__context__
    if device_lost(error):
        raise DeviceLost(str(error).partition("\n")[0]) from None
    return error
