"""What a stepper asks of its device: memory to copy from and to, answers that arrive later, and memory given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

_BEFORE_RECORDING = 3


class Arrival(Protocol):
    """When tensors that were fetched have arrived; `torch.cuda.Event` is one."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...


class Device(Protocol):
    """Where a network runs. What is enqueued runs in order, and later where the device is not the CPU.

    Attributes:
        torch_device: for the network's tensors.
    """

    @property
    def torch_device(self) -> torch.device: ...

    @property
    def kind(self) -> str:
        """What it is, in the words of its driver: devices of one kind compute alike."""
        ...

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory on the host for copies to and from the device, with any content."""
        ...

    def send(self, tensor: Tensor) -> Tensor:
        """Enqueue the copy of a tensor in such memory; returns the one on the device."""
        ...

    def fetch(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Arrival | None]:
        """Enqueue copies to the host; they hold the answers once they have arrived, at once where that is None."""
        ...

    def settings(self, *, exact: bool) -> AbstractContextManager[None]:
        """How the network is to be computed; `exact`: in float32 as it is written."""
        ...

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """Record what this work does on the device, which always has the same tensors to read.

        Returns:
            The tensors of its answers, and what does all of it again, into these.
        """
        ...

    def release_memory(self) -> None:
        """Give back what is kept for later tensors."""
        ...


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU, which has computed all when a call returns."""

    torch_device: torch.device
    kind: str = "cpu"

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype)

    def send(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.torch_device)

    def fetch(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], None]:
        return list(tensors), None

    def settings(self, *, exact: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """A CPU has nothing to record: the work is done again."""
        answers = work()

        def again() -> None:
            for answer, made in zip(answers, work(), strict=True):
                answer.copy_(made)

        return answers, again

    def release_memory(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Cuda:
    """A GPU, through page-locked memory, so that no copy waits.

    What goes in is copied on a stream of its own, beside the work on the batch before; what comes out is copied in the
    order of the work, since recorded work writes its next answers over these.

    Attributes:
        measures: whether cuDNN may measure which of its kernels is the fastest, and take one that adds in any order.
    """

    torch_device: torch.device
    measures: bool = True

    @property
    def kind(self) -> str:
        return torch.cuda.get_device_name(self.torch_device)

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def send(self, tensor: Tensor) -> Tensor:
        working, copying = torch.cuda.current_stream(self.torch_device), _copies(self.torch_device)
        with torch.cuda.stream(copying):
            there = tensor.to(self.torch_device, non_blocking=True)
        working.wait_stream(copying)
        there.record_stream(working)  # its memory is not handed out again before the work with it is done
        return there

    def fetch(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Arrival]:
        copies = [self.host(tensor.shape, tensor.dtype) for tensor in tensors]
        for copy, tensor in zip(copies, tensors, strict=True):
            copy.copy_(tensor, non_blocking=True)
        arrival = torch.cuda.Event(blocking=True)  # who waits sleeps: the core is for crops and masks
        arrival.record(torch.cuda.current_stream(self.torch_device))
        return copies, arrival

    def settings(self, *, exact: bool) -> AbstractContextManager[None]:
        # Shapes repeat, so measuring pays; fp32 is the reference and must not be TF32.
        cudnn, measures = torch.backends.cudnn, self.measures
        if not hasattr(cudnn, "conv"):  # torch before 2.9
            return cudnn.flags(enabled=True, benchmark=measures, deterministic=not measures, allow_tf32=not exact)
        # `cudnn.flags` reads the older setting of TF32, which raises where the program uses the newer one. Convolutions
        # and recurrent layers are set alike: the older setting raises where they differ.
        precision = "ieee" if exact else "tf32"
        return _attributes(
            (cudnn, "enabled", True),
            (cudnn, "benchmark", measures),
            (cudnn, "deterministic", not measures),
            (cudnn.conv, "fp32_precision", precision),
            (cudnn.rnn, "fp32_precision", precision),
        )

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """As a CUDA graph. What cuDNN measures, and libraries set up, comes before, on a stream beside the current.

        All graphs run on one stream, so they share the memory for what lies between inputs and answers.
        """
        current, beside = torch.cuda.current_stream(self.torch_device), torch.cuda.Stream(self.torch_device)
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(_BEFORE_RECORDING):
                work()
        current.wait_stream(beside)
        graph: Any = torch.cuda.CUDAGraph()
        # Other threads may ask for memory meanwhile.
        with torch.cuda.graph(graph, pool=_graph_memory(self.torch_device), capture_error_mode="thread_local"):
            answers = work()
        return answers, graph.replay

    def release_memory(self) -> None:
        torch.cuda.empty_cache()


@contextmanager
def _attributes(*wanted: tuple[Any, str, Any]) -> Iterator[None]:
    """Inside the block, these attributes of objects have these values."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    try:
        for owner, name, value in wanted:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@cache
def _copies(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


@cache
def _graph_memory(device: torch.device) -> Any:
    return torch.cuda.graph_pool_handle()


def open_device(device: torch.device | str, *, measures: bool = True) -> Device:
    """The device of this name: "cpu", "cuda", "cuda:1", …; for `measures` see `Cuda`."""
    named = torch.device(device)
    return Cuda(named, measures) if named.type == "cuda" else Cpu(named)
