"""The network's forward pass on a CPU in each precision, interleaved in one process, in milliseconds of one core.

Time of the thread and not of the clock, and the best of many: a machine that others use too gives the same ratios
twice.
"""

from __future__ import annotations

import time
from typing import Annotated, cast, get_args

import numpy as np
import torch
import typer

from benchmarks.hardware import describe
from benchmarks.networks import Backbone, forward_pass, random_model
from model.network.calibration import map_ranges
from model.network.inference import Precision


def main(
    backbones: Annotated[str, typer.Option(help="resnet18, resnet50, with commas between.")] = "resnet18,resnet50",
    batches: Annotated[str, typer.Option(help="Batch sizes, with commas between.")] = "1,8",
    precisions: Annotated[str, typer.Option(help="Of fp32, bf16 and int8, with commas between.")] = "fp32,bf16,int8",
    rounds: Annotated[int, typer.Option(help="How often each is timed, in turn.")] = 20,
) -> None:
    """The forward pass of a window on one core of this CPU, in each precision; interleaved, best of many."""
    torch.set_num_threads(1)
    kinds = [cast(Precision, name) for name in precisions.split(",")]
    if unknown := set(kinds) - set(get_args(Precision)):
        raise typer.BadParameter(f"{unknown.pop()}: expected {', '.join(get_args(Precision))}")
    print(f"{describe('cpu')}; one thread, best of {rounds}, core-ms a window\n")
    names = [part for kind in kinds for part in (kind, f"{kind}, features alone")]
    print(f"| backbone | batch | {' | '.join(names)} |")
    print(f"|{'---|' * (2 + len(names))}")
    crops = list(np.random.default_rng(0).integers(0, 256, (4, 255, 255, 3), np.uint8))
    for backbone in backbones.split(","):
        model = random_model(cast(Backbone, backbone))
        model.int8_ranges = map_ranges(model, crops)
        for batch in (int(size) for size in batches.split(",")):
            passes = [
                forward_pass(model, batch=batch, device="cpu", precision=kind, whole=whole)[0]
                for kind in kinds
                for whole in (True, False)
            ]
            best = [float("inf")] * len(passes)
            for _ in range(rounds):
                for number, step in enumerate(passes):
                    started = time.thread_time()
                    step()
                    best[number] = min(best[number], time.thread_time() - started)
            print(f"| {backbone} | {batch} | {' | '.join(f'{1e3 * value / batch:.2f}' for value in best)} |")
