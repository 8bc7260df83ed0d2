#!/usr/bin/env python3
"""Train a SiamMask on a Ray cluster, or on this machine.

    ray job submit --working-dir . -- python jobs/train.py --data s3://bucket/davis --output s3://bucket/train1 \\
        --backbone s3://bucket/resnet18-f37072fd.pth
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.cluster.connect import choose_authentication

if __name__ == "__main__":
    choose_authentication()

from model.command_line import command_line, main
from model.training.options import Recipe
from pipeline import storage
from pipeline.errors import UsageError
from pipeline.training.cache import default_cache
from pipeline.training.worker import Task


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What `jobs/train.py` was asked to do."""

    output: Annotated[str, Option(help="Folder for checkpoints, weights and record; the same again resumes.")]
    data: Annotated[tuple[str, ...], Option(help="Training set (sequences, masks); may be repeated.")] = ()
    store: Annotated[str | None, Option(help="A prepared store at this path on every node instead.")] = None
    split: Annotated[str, Option(help="Split of the sets to train on.")] = "train"
    stride: Annotated[int, Option(help="Take every n-th video frame.")] = 1
    longest_side: Annotated[int, Option(help="Reduce larger pictures to this many pixels.")] = 1280
    backbone: Annotated[str | None, Option(help="torchvision's ResNet-18 (.pth).", metavar="URI")] = None
    start: Annotated[str | None, Option(help="A weights file to start from instead.", metavar="URI")] = None
    steps: Annotated[int, Option(help="Steps to train for.")] = 20_000
    batch_size: Annotated[int, Option(help="pairs a step, of all workers together")] = 64
    recipe: Recipe = Recipe()
    loaders: Annotated[int, Option(help="processes that make batches, a worker")] = 1
    checkpoint_every: Annotated[int, Option(help="Steps between checkpoints.")] = 200
    workers: Annotated[int, Option(help="Training workers [one a GPU, or one]; they share each batch.")] = 0
    cpus_per_worker: Annotated[int, Option(help="CPUs of a worker [a node's, shared by its workers].")] = 0
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto"
    cache: Annotated[str | None, Option(help="Folder of each node for copied sets and stores.")] = None
    max_failures: Annotated[int, Option(help="How often workers that died are started again.")] = 3


def train(options: TrainOptions) -> int:
    """Train on DATA into OUTPUT; every option of the network and the recipe is that of `model.training train`."""
    from pipeline.training.run import train as run

    options.recipe.check_origin(backbone=options.backbone, start=options.start)
    config = options.recipe.config(
        batch_size=options.batch_size,
        steps=options.steps,
        workers=options.loaders,
        checkpoint_steps=options.checkpoint_every,
    )
    task = Task(
        config=config.to_json(),
        data=tuple(map(_uri, options.data)),
        store=_uri(options.store) if options.store else None,
        output=_uri(options.output),
        split=options.split,
        stride=options.stride,
        longest_side=options.longest_side,
        start=_uri(options.start) if options.start else None,
        backbone=_uri(options.backbone) if options.backbone else None,
        cache=str(Path(options.cache).resolve() if options.cache else default_cache()),
        cpus=options.cpus_per_worker,
        device=options.device,
    )
    return run(task, config, workers=options.workers, max_failures=options.max_failures)


def _uri(text: str) -> str:
    try:
        return storage.parse(text).uri
    except storage.StorageError as error:
        raise UsageError(str(error)) from error


app = command_line(train, (UsageError, BadParameter))

if __name__ == "__main__":
    main(app)
