"""Several training workers as one: what they sum, and batch norm over all of their samples.

Worker r of n makes and learns part r of every batch. Three things make their averaged gradients those of the whole
batch on one worker: the losses are divided by the mean of the workers' counts, batch norm takes its statistics over
all parts, and gradients are averaged by `DistributedDataParallel`. The process group is made by whoever starts the
workers; without one there is one worker.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Workers:
    """This worker's `rank`, from 0, and the `count` of all."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_group(cls) -> Workers:
        """Those of torch's process group, or one worker where there is none."""
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes files."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the workers."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def gather(self, value: Any) -> list[Any]:
        """What every worker gives, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def share(self, step: nn.Module) -> nn.Module:
        """A training step whose gradients are averaged over the workers, for the parameters that train now.

        It must live until `backward` is done: what averages goes with it.
        """
        if self.count == 1:
            return step
        device = next(step.parameters()).device
        ids = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # Torch 2.13 has a new name for broadcast_buffers; older ones do not know it.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(step, device_ids=ids, broadcast_buffers=False)

    def share_norms(self, module: nn.Module) -> None:
        """Replace, in place, every batch norm by one whose statistics are those of all workers' samples."""
        if self.count == 1:
            return
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _shared_norm(child))
            else:
                self.share_norms(child)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the samples of all workers, on any backend; torch's own needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] of this worker's samples, normalised."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = _Sum.apply(values.new_tensor(float(values.numel() // values.shape[1])))
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the workers; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _shared_norm(norm: nn.BatchNorm2d) -> SharedBatchNorm2d:
    shared = SharedBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared.load_state_dict(norm.state_dict())
    return shared.to(norm.weight.device).train(norm.training)
