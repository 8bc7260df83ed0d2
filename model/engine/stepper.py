"""One batch on the device: crops and kernels go in, new states and masks come out.

All work of a step, the choice of candidates and the update of states included, is enqueued without waiting for
the device; `Flight.result` waits once and copies out once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from model.engine.device import Arrival, open_device
from model.errors import out_of_memory
from model.network import SiamMask, Template
from model.network.inference import Precision, float_type, prepare
from model.tracker import TrackerParams, TrackState
from model.tracker.choose import Chooser
from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE
from model.tracker.evidence import Evidence
from model.tracker.on_cpu import CpuChooser, CpuEvidence
from model.tracker.rivals import MOST_AVOIDED, nearest

# Columns of the numbers that go in with a search window, and of those that come out.
_IN = 9  # centre x, centre y, width, height, scale, frame width, frame height, hold, is_free
_OUT = 7  # centre x, centre y, width, height, score, row, column


Step = Callable[[Tensor, Template, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""Search windows [B, 3, 255, 255], kernels [B, …], numbers [B, 9] and places [B, K, 4] or None make numbers [B, 7],
masks [B, M, M] and evidence [B, MEASURES + C]."""


@dataclass(frozen=True, slots=True)
class StepInput:
    """One track's part of a batch.

    kernels: its template, each [1, 256, 5, 5] on the device. search: uint8 [255, 255, 3] BGR. state: where it
    stands in the frame. scale: search-window pixels a frame pixel. frame_size: height and width. hold: whether
    the state stays as it is. is_free: whether a candidate counts as much at the window's edge as in its middle.
    avoid: places, centre x, centre y, width and height in frame pixels: no candidate with its centre in one is chosen.
    """

    kernels: Template
    search: np.ndarray
    state: TrackState
    scale: float
    frame_size: tuple[int, int]
    hold: bool
    is_free: bool = False
    avoid: Sequence[tuple[float, float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class StepResult:
    """One track's outcome.

    state: the new one. score, row, column: of the chosen candidate. mask: float32 [M, M], its probability. evidence:
    float32 [MEASURES + C], see `Evidence.measure`.
    """

    state: TrackState
    score: float
    row: int
    column: int
    mask: np.ndarray
    evidence: np.ndarray


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch under way on the device."""

    count: int
    numbers: Tensor
    masks: Tensor
    evidence: Tensor
    arrival: Arrival | None

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        return self.arrival is None or self.arrival.query()

    def result(self) -> list[StepResult]:
        """Wait for the device and return the outcomes in the order of the inputs."""
        if self.arrival is not None:
            self.arrival.synchronize()
        numbers, masks, evidence = self.numbers.numpy(), self.masks.numpy(), self.evidence.numpy()
        return [
            StepResult(
                TrackState(*numbers[i, :4].tolist()), float(numbers[i, 4]), int(numbers[i, 5]), int(numbers[i, 6]),
                masks[i], evidence[i],
            )
            for i in range(self.count)
        ]  # fmt: skip


class Stepper:
    """Runs batches of one network on one device.

    Attributes:
        batch_sizes: sizes that batches are padded to, ascending.

    Args:
        model: the network; a prepared copy is made.
        params: the tracker's hyper-parameters.
        device: "cpu", "cuda", "cuda:1", …
        precision: of the network; choices and states are computed in float32 and float64 whatever it is.
        batch_sizes: sizes that batches are padded to; empty: never pad.
        compiled: compile the step with `torch.compile`, once for each of the batch sizes, at its first batch.
        measures: whether a device may choose its kernels by measuring them.
    """

    def __init__(
        self,
        model: SiamMask,
        params: TrackerParams,
        *,
        device: torch.device | str,
        precision: Precision,
        batch_sizes: Sequence[int] = (),
        compiled: bool = False,
        measures: bool = True,
    ) -> None:
        if compiled and not batch_sizes:
            raise ValueError("a compiled step needs batch sizes: without them every size is compiled anew")
        self.device = open_device(device, measures=measures)
        torch_device = self.device.torch_device
        self.dtype = float_type(precision)
        self._search_dtype = torch.uint8 if precision == "int8" else self.dtype
        self._model = prepare(model, torch_device, precision, compiled=compiled)
        # What torch compiles, and what a GPU is to do, is written in torch's own functions.
        is_plain_cpu = self.device.kind == "cpu" and not compiled
        self._chooser = CpuChooser(params) if is_plain_cpu else Chooser(params, torch_device)
        self._evidence = (CpuEvidence if is_plain_cpu else Evidence)(params.mask_threshold, torch_device)
        self.batch_sizes = tuple(sorted(batch_sizes))
        self._exact = precision == "fp32"
        self._run: Step = self.step
        if compiled:
            # One graph a batch size, and other engines of the process do not count; torch's own limit is eight.
            self._run = torch.compile(  # type: ignore[call-overload]
                self.step, dynamic=False, recompile_limit=len(self.batch_sizes), isolate_recompiles=True
            )
            self._try()

    def running(self, step: Step) -> Self:
        """This stepper, its network and device, but with another function that computes what `step` does."""
        other = copy.copy(self)
        other._run = step
        return other

    def step_with(self, rearranged: Callable[[SiamMask], SiamMask]) -> Step:
        """`step`, but computed by what this makes of the network."""
        other = copy.copy(self)
        other._model = rearranged(self._model)  # type: ignore[arg-type]
        return other.step

    @torch.inference_mode()
    def templates(self, crops: Sequence[np.ndarray]) -> list[Template]:
        """Return the correlation kernels of template crops, uint8 [127, 127, 3] BGR part."""
        padded = self._padded(len(crops))
        with self.device.settings(exact=self._exact):
            kernels = self._model.template(self._pixels(crops, padded, TEMPLATE_SIZE, self.dtype))
        return [_kernels_of(kernels, i) for i in range(len(crops))]

    @torch.inference_mode()
    def launch(self, inputs: Sequence[StepInput]) -> Flight:
        """Start one search step for each input."""
        count, padded = len(inputs), self._padded(len(inputs))
        numbers = self.device.host((padded, _IN), torch.float64)
        table = numbers.numpy()
        for i, item in enumerate(inputs):
            state, (height, width) = item.state, item.frame_size
            table[i] = (
                state.centre_x, state.centre_y, state.width, state.height, item.scale, width, height, item.hold,
                item.is_free,
            )  # fmt: skip
        table[count:] = (1, 1, 1, 1, 1, 1, 1, 1, 0)
        chosen = [item.kernels for item in inputs] + [inputs[-1].kernels] * (padded - count)
        with self.device.settings(exact=self._exact):
            answers = self._run(
                self._pixels([item.search for item in inputs], padded, SEARCH_SIZE, self._search_dtype),
                _joined(chosen),
                self.device.send(numbers),
                self._places(inputs, padded),
            )
        (out, masks, evidence), arrival = self.device.fetch(answers)
        return Flight(count, out, masks, evidence, arrival)

    def step(
        self, search: Tensor, kernels: Template, numbers: Tensor, avoid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A `Step`, as it is written."""
        model, chooser = self._model, self._chooser
        state, scale, frame = numbers[:, :4], numbers[:, 4], numbers[:, 5:7]
        hold, is_free = numbers[:, 7] > 0, numbers[:, 8] > 0
        features = model.features(search)
        response = model.respond(kernels, features)
        choice = chooser.choose(response.score, response.box, (state[:, 2:] * scale[:, None]).float(), is_free, avoid)
        batch = torch.arange(search.shape[0], device=search.device)
        patches = model.patches(features, batch, choice.row, choice.column)
        vectors = model.mask_vectors(patches, kernels.mask)
        if model.config.refine:
            logits = model.refined(features, vectors, batch, choice.row, choice.column)
        else:
            logits = model.mask63(vectors)
        masks = logits.float().sigmoid()
        if response.box is None:
            choice = chooser.box_from_mask(choice, masks)
        evidence = self._evidence.measure(choice, masks, patches)
        state = chooser.update(choice, state, scale, frame, hold)
        extra = torch.stack([choice.score, choice.row, choice.column], 1).double()
        return torch.cat([state, extra], 1), masks, evidence

    def _places(self, inputs: Sequence[StepInput], padded: int) -> Tensor | None:
        """Where candidates are not to be chosen, relative to the windows' centres; None where no input has any."""
        if not any(item.avoid for item in inputs):
            return None
        places = self.device.host((padded, MOST_AVOIDED, 4), torch.float32)
        table = places.numpy()
        table[:] = 0
        for i, item in enumerate(inputs):
            state = item.state
            for k, (x, y, width, height) in enumerate(nearest(item.avoid, state)):
                table[i, k] = (x - state.centre_x, y - state.centre_y, width, height)
            table[i] *= item.scale
        return self.device.send(places)

    def warm_up(self) -> None:
        """Run a step of each batch size, so that what is measured or recorded for it is before there are tracks.

        Sizes for which the device has too little memory are left out.
        """
        for size in self.batch_sizes:
            try:
                self._try(size)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self.device.release_memory()
                return

    def _try(self, count: int = 1) -> None:
        """Run one step on black images, so that a step that cannot be compiled fails before there are tracks."""
        kernels = self.templates([np.zeros((TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8)] * count)
        search = np.zeros((SEARCH_SIZE, SEARCH_SIZE, 3), np.uint8)
        state = TrackState(1, 1, 1, 1)
        self.launch([StepInput(each, search, state, 1.0, (1, 1), hold=True) for each in kernels]).result()

    def _padded(self, count: int) -> int:
        return next((size for size in self.batch_sizes if size >= count), count)

    def _pixels(self, crops: Sequence[np.ndarray], padded: int, side: int, dtype: torch.dtype) -> Tensor:
        """Stack uint8 [side, side, 3] crops into [padded, 3, side, side], channels-last, on the device.

        What is beyond the crops has any content: of that nothing is read.
        """
        stacked = self.device.host((padded, side, side, 3), torch.uint8)
        np.stack(crops, out=stacked[: len(crops)].numpy())
        pixels = self.device.send(stacked).permute(0, 3, 1, 2)
        return pixels.to(dtype, memory_format=torch.channels_last)


def _kernels_of(kernels: Template, i: int) -> Template:
    """The kernels of one track, in memory of their own."""
    box = None if kernels.box is None else kernels.box[i : i + 1].clone()
    return Template(kernels.score[i : i + 1].clone(), box, kernels.mask[i : i + 1].clone())


def _joined(kernels: Sequence[Template]) -> Template:
    boxes = [part.box for part in kernels if part.box is not None]
    return Template(
        torch.cat([part.score for part in kernels]),
        torch.cat(boxes) if boxes else None,
        torch.cat([part.mask for part in kernels]),
    )
