"""One batch on the device: crops and kernels go in, new states and masks come out.

All work of a step, the choice of candidates and the update of states included, is enqueued without waiting for
the device; `Flight.result` waits once and copies out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.crop import SEARCH_SIZE, TEMPLATE_SIZE
from model.network import SiamMask, Template
from model.prepare import DTYPES, Precision, prepare
from model.tracker import Chooser, TrackerParams, TrackState

# Columns of the numbers that go in with a search window, and of those that come out.
_IN = 8  # centre x, centre y, width, height, scale, frame width, frame height, hold
_OUT = 7  # centre x, centre y, width, height, score, row, column


@dataclass(frozen=True, slots=True)
class StepInput:
    """One track's part of a batch.

    kernels: its template, each [1, 256, 5, 5] on the device. search: uint8 [255, 255, 3] BGR. state: where it
    stands in the frame. scale: search-window pixels a frame pixel. frame_size: height and width. hold: whether
    the state stays as it is.
    """

    kernels: Template
    search: np.ndarray
    state: TrackState
    scale: float
    frame_size: tuple[int, int]
    hold: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """One track's outcome: new state, score, the chosen cell, and float32 [M, M] mask probability there."""

    state: TrackState
    score: float
    row: int
    column: int
    mask: np.ndarray


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch under way on the device."""

    count: int
    numbers: Tensor
    masks: Tensor
    done: torch.cuda.Event | None

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        return self.done is None or self.done.query()

    def result(self) -> list[StepResult]:
        """Wait for the device and return the outcomes in the order of the inputs."""
        if self.done is not None:
            self.done.synchronize()
        numbers, masks = self.numbers.numpy(), self.masks.numpy()
        return [
            StepResult(
                TrackState(*numbers[i, :4].tolist()), float(numbers[i, 4]), int(numbers[i, 5]), int(numbers[i, 6]),
                masks[i],
            )
            for i in range(self.count)
        ]  # fmt: skip


class Stepper:
    """Runs batches of one network on one device.

    Args:
        model: the network; a prepared copy is made.
        params: the tracker's hyper-parameters.
        device: "cpu", "cuda", "cuda:1", …
        precision: of the network; choices and states are computed in float32 and float64 whatever it is.
        batch_sizes: sizes that batches are padded to, ascending; empty: never pad.
        compiled: compile the step with `torch.compile`, once for each of the batch sizes, at its first batch.
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
    ) -> None:
        if compiled and not batch_sizes:
            raise ValueError("a compiled step needs batch sizes: without them every size is compiled anew")
        self.device = torch.device(device)
        self.dtype = DTYPES[precision]
        self._model = prepare(model, self.device, precision, compiled=compiled)
        self._chooser = Chooser(params, self.device)
        self._batch_sizes = tuple(sorted(batch_sizes))
        self._strict = precision == "fp32"
        self._run = self._step
        if compiled:
            # One graph a batch size, and other engines of the process do not count; torch's own limit is eight.
            self._run = torch.compile(  # type: ignore[call-overload]
                self._step, dynamic=False, recompile_limit=len(self._batch_sizes), isolate_recompiles=True
            )
            self._try()

    @torch.inference_mode()
    def templates(self, crops: Sequence[np.ndarray]) -> list[Template]:
        """Return the correlation kernels of template crops, uint8 [127, 127, 3] BGR each."""
        padded = self._padded(len(crops))
        with self._backend():
            kernels = self._model.template(self._pixels(crops, padded, TEMPLATE_SIZE))
        return [_one(kernels, i) for i in range(len(crops))]

    @torch.inference_mode()
    def launch(self, inputs: Sequence[StepInput]) -> Flight:
        """Start one search step for each input."""
        count, padded = len(inputs), self._padded(len(inputs))
        numbers = self._host((padded, _IN), torch.float64)
        table = numbers.numpy()
        for i, item in enumerate(inputs):
            state, (height, width) = item.state, item.frame_size
            table[i] = (
                state.centre_x, state.centre_y, state.width, state.height, item.scale, width, height, item.hold
            )  # fmt: skip
        table[count:] = (1, 1, 1, 1, 1, 1, 1, 1)
        chosen = [item.kernels for item in inputs] + [inputs[-1].kernels] * (padded - count)
        with self._backend():
            out, masks = self._run(
                self._pixels([item.search for item in inputs], padded, SEARCH_SIZE),
                _joined(chosen),
                numbers.to(self.device, non_blocking=True),
            )
        if self.device.type != "cuda":
            return Flight(count, out, masks, None)
        host_out, host_masks = self._host(out.shape, out.dtype), self._host(masks.shape, masks.dtype)
        host_out.copy_(out, non_blocking=True)
        host_masks.copy_(masks, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))
        return Flight(count, host_out, host_masks, done)

    def _step(self, search: Tensor, kernels: Template, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Search windows [B, 3, 255, 255], kernels [B, …] and numbers [B, 8] -> numbers [B, 7], masks [B, M, M]."""
        model, chooser = self._model, self._chooser
        state, scale, frame, hold = numbers[:, :4], numbers[:, 4], numbers[:, 5:7], numbers[:, 7] > 0
        features = model.features(search)
        response = model.respond(kernels, features)
        choice = chooser.choose(response.score, response.box, (state[:, 2:] * scale[:, None]).float())
        batch = torch.arange(search.shape[0], device=search.device)
        if model.config.refine:
            logits = model.refined(features, response.mask, batch, choice.row, choice.column)
        else:
            logits = model.mask63(response.mask, batch, choice.row, choice.column)
        masks = logits.float().sigmoid()
        if response.box is None:
            choice = chooser.box_from_mask(choice, masks)
        state = chooser.update(choice, state, scale, frame, hold)
        extra = torch.stack([choice.score, choice.row, choice.column], 1).double()
        return torch.cat([state, extra], 1), masks

    def _try(self) -> None:
        """One step of nothing, so that what cannot be compiled shows before there are tracks."""
        (kernels,) = self.templates([np.zeros((TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8)])
        search = np.zeros((SEARCH_SIZE, SEARCH_SIZE, 3), np.uint8)
        self.launch([StepInput(kernels, search, TrackState(1, 1, 1, 1), 1.0, (1, 1), hold=True)]).result()

    def _padded(self, count: int) -> int:
        return next((size for size in self._batch_sizes if size >= count), count)

    def _pixels(self, crops: Sequence[np.ndarray], padded: int, side: int) -> Tensor:
        """Stack uint8 [side, side, 3] crops into [padded, 3, side, side], channels-last, on the device."""
        stacked = self._host((padded, side, side, 3), torch.uint8)
        np.stack(crops, out=stacked[: len(crops)].numpy())
        stacked[len(crops) :] = 0
        pixels = stacked.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return pixels.to(self.dtype, memory_format=torch.channels_last)

    def _host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self.device.type == "cuda")

    def _backend(self) -> AbstractContextManager[None]:
        if self.device.type != "cuda":
            return nullcontext()
        # Shapes repeat, so cuDNN may measure; fp32 is the reference and must not be TF32.
        return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=not self._strict)


def _one(kernels: Template, i: int) -> Template:
    """The kernels of one track, in memory of their own."""
    box = None if kernels.box is None else kernels.box[i : i + 1].clone()
    return Template(kernels.score[i : i + 1].clone(), box, kernels.mask[i : i + 1].clone())


def _joined(kernels: Sequence[Template]) -> Template:
    boxes = [each.box for each in kernels if each.box is not None]
    return Template(
        torch.cat([each.score for each in kernels]),
        torch.cat(boxes) if boxes else None,
        torch.cat([each.mask for each in kernels]),
    )
