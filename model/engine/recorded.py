"""A step that is recorded once for each batch size, and then runs as one piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import Tensor

from model.engine.device import Device
from model.engine.stepper import Step
from model.errors import out_of_memory
from model.network import Template

log = logging.getLogger(__name__)


class RecordedStep:
    """A `Step` that starts all work of a batch at once, where the plain one starts some hundred kernels one by one.

    It answers into tensors of its own, which the next batch of the same size overwrites: on the device's one stream
    that is after their copies to the host. A size that cannot be recorded is computed plainly.
    """

    def __init__(self, step: Step, device: Device) -> None:
        self._step, self._device = step, device
        self._recordings: dict[tuple[int, bool], _Recording | None] = {}

    def __call__(
        self, search: Tensor, kernels: Template, numbers: Tensor, avoid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        key = len(search), avoid is not None
        if key not in self._recordings:
            self._recordings[key] = self._record(search, kernels, numbers, avoid)
        recording = self._recordings[key]
        if recording is None:
            return self._step(search, kernels, numbers, avoid)
        out, masks, evidence = recording.run(_flat(search, kernels, numbers, avoid))
        return out, masks, evidence

    def _record(self, search: Tensor, kernels: Template, numbers: Tensor, avoid: Tensor | None) -> _Recording | None:
        given = [tensor.clone() for tensor in _flat(search, kernels, numbers, avoid)]
        parts = iter(given)
        search, score = next(parts), next(parts)
        box = None if kernels.box is None else next(parts)
        own = Template(score, box, next(parts))
        numbers, avoid = next(parts), next(parts, None)
        try:
            answers, again = self._device.record(lambda: self._step(search, own, numbers, avoid))
        except Exception as error:
            if out_of_memory(error):
                raise
            # After what ends the device the plain step raises too.
            log.warning("a step of %d tracks cannot be recorded, and is computed plainly: %s", len(search), error)
            return None
        return _Recording(given, answers, again)


class _Recording:
    """Recorded work with the tensors that it reads and writes."""

    def __init__(self, given: Sequence[Tensor], answers: Sequence[Tensor], again: Callable[[], None]) -> None:
        self._given, self._answers, self._again = given, answers, again

    def run(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        for own, tensor in zip(self._given, tensors, strict=True):
            own.copy_(tensor)
        self._again()
        return self._answers


def _flat(search: Tensor, kernels: Template, numbers: Tensor, avoid: Tensor | None) -> list[Tensor]:
    """The tensors that are there, in a fixed order."""
    every = (search, kernels.score, kernels.box, kernels.mask, numbers, avoid)
    return [tensor for tensor in every if tensor is not None]
