"""A CUDA device that is none: work is done on the CPU at once, and is seen only by those who wait for it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.engine.device import Cpu

_ON_HOST = {"detach", "slice", "select", "permute", "fill_", "zero_", "copy_", "resolve_conj", "resolve_neg"}
"""What may be done to memory of the host: views of it, and writing."""
_TO_NUMPY = "aten.to.dtype_layout"


class Memory(TorchDispatchMode):
    """Counts the bytes of all tensors made under it that are alive, and refuses those beyond its budget.

    It refuses too to compute on memory of the host, which a GPU does not see.
    """

    def __init__(self) -> None:
        super().__init__()
        self.budget, self.used, self.most = float("inf"), 0, 0
        self.is_copying = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        allowed = func.overloadpacket.__name__ in _ON_HOST or str(func) == _TO_NUMPY
        if not self.is_copying and not allowed:
            for tensor in args:
                if isinstance(tensor, Tensor) and not tensor.is_mkldnn:
                    assert not hasattr(tensor.untyped_storage(), "on_host"), f"{func} on memory of the host"
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and not tensor.is_mkldnn:  # oneDNN keeps storages to itself
                self._count(tensor.untyped_storage())
        if self.used > self.budget:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return made

    def _count(self, storage: Any) -> None:
        if hasattr(storage, "counted"):
            return
        storage.counted, size = True, storage.nbytes()
        self.used += size
        self.most = max(self.most, self.used)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.used -= size


@dataclass
class Copies:
    """Copies to the host that are not there yet (an `Arrival`). The first question for them is answered with no."""

    device: FakeCuda
    pairs: list[tuple[Tensor, Tensor]]
    asked: bool = False

    def query(self) -> bool:
        asked, self.asked = self.asked, True
        return asked

    def synchronize(self) -> None:
        self.device.waits += 1
        self.device.under_way.discard(id(self))
        if self.device.hanging is not None:
            self.device.hanging.wait(60)
        if self.device.error_on_wait is not None:
            raise self.device.error_on_wait
        with torch.inference_mode():
            for copy, tensor in self.pairs:
                copy.copy_(tensor)


@dataclass
class FakeCuda:
    """A `model.engine.device.Device` that misbehaves on command.

    Attributes:
        memory: its budget can be lowered.
        hanging: nothing arrives until this is set.
        error_on_wait: raised to whoever waits, as CUDA raises what went wrong since it was last asked.
        on_start: called as each batch starts, and may raise.
        under_way: the batches that nobody has waited for, whose tensors the device still needs.
    """

    memory: Memory = field(default_factory=Memory)
    hanging: threading.Event | None = None
    error_on_wait: Exception | None = None
    on_start: Callable[[], None] = lambda: None
    under_way: set[int] = field(default_factory=set)
    waits: int = 0
    released: int = 0
    torch_device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    kind: str = "a device that is none"

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        content = torch.empty(tuple(shape), dtype=dtype)
        content.fill_(float("nan") if dtype.is_floating_point else 77)
        content.untyped_storage().on_host = True  # type: ignore[attr-defined]
        return content

    def send(self, tensor: Tensor) -> Tensor:
        self.memory.is_copying = True
        try:
            return tensor.clone()
        finally:
            self.memory.is_copying = False

    def fetch(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Copies]:
        copies = [self.host(tensor.shape, tensor.dtype) for tensor in tensors]
        answers = [tensor.clone() for tensor in tensors]  # as they are when the copy's turn comes, before later work
        arrival = Copies(self, list(zip(copies, answers, strict=True)))
        self.under_way.add(id(arrival))
        return copies, arrival

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        return Cpu(self.torch_device).record(work)

    @contextlib.contextmanager
    def settings(self, *, exact: bool) -> Iterator[None]:
        self.on_start()
        with self.memory:
            yield

    def release_memory(self) -> None:
        self.released += 1


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """What an engine on "cuda" runs on."""
    device = FakeCuda()
    monkeypatch.setattr("model.engine.stepper.open_device", lambda *_, **__: device)
    monkeypatch.setattr("model.engine.engine.fastest_stepper", lambda stepper, *_, **__: (stepper, []))
    return device
