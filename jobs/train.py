#!/usr/bin/env python3
"""Train a SiamMask on a Ray cluster, or on this machine.

    ray job submit --working-dir . -- python jobs/train.py --data s3://bucket/davis --output s3://bucket/train1 \\
        --backbone s3://bucket/resnet18-f37072fd.pth
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.raycluster import choose_authentication

if __name__ == "__main__":
    choose_authentication()

from model.training import options
from pipeline import storage
from pipeline.options import UsageError
from pipeline.training.cache import default_cache
from pipeline.training.worker import Task

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def train(
    output: Annotated[str, typer.Option(help="Folder for checkpoints, weights and record; the same again resumes.")],
    data: Annotated[list[str] | None, typer.Option(help="Training set (sequences, masks); may be repeated.")] = None,
    store: Annotated[str | None, typer.Option(help="A prepared store at this path on every node instead.")] = None,
    split: Annotated[str, typer.Option(help="Split of the sets to train on.")] = "train",
    stride: Annotated[int, typer.Option(help="Take every n-th video frame.")] = 1,
    longest_side: Annotated[int, typer.Option(help="Reduce larger pictures to this many pixels.")] = 1280,
    backbone: Annotated[str | None, typer.Option(help="torchvision's ResNet-18 (.pth).", metavar="URI")] = None,
    start: Annotated[str | None, typer.Option(help="A weights file to start from instead.", metavar="URI")] = None,
    from_scratch: options.FromScratch = False,
    steps: Annotated[int, typer.Option(help="Steps to train for.")] = 20_000,
    batch_size: options.BatchSize = 64,
    learning_rate: options.LearningRate = None,
    resnet: options.Resnet = 18,
    variant: options.Variant = "three",
    refine: options.Refine = True,
    stage: options.StageName = "joint",
    schedule: options.ScheduleName = "cosine",
    unfreeze_at: options.UnfreezeAt = 0.15,
    unfreeze_more: options.UnfreezeMore = "",
    mask_weight: options.MaskWeight = 36.0,
    search_zoom: options.SearchZoom = 0.18,
    distractors: options.Distractors = 0.25,
    precision: options.PrecisionName = "bf16",
    held_out: options.HeldOut = None,
    all_sequences: options.AllSequences = False,
    seed: options.Seed = 1,
    loaders: options.Loaders = 1,
    log_every: options.LogEvery = 20,
    validate_every: options.ValidateEvery = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    workers: Annotated[int, typer.Option(help="Training workers [one a GPU, or one]; they share each batch.")] = 0,
    cpus_per_worker: Annotated[int, typer.Option(help="CPUs of a worker [a node's, shared by its workers].")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[str | None, typer.Option(help="Folder of each node for copied sets and stores.")] = None,
    max_failures: Annotated[int, typer.Option(help="How often workers that died are started again.")] = 3,
) -> None:
    """Train on DATA into OUTPUT; every option of the network and the recipe is that of `model.training train`."""
    from pipeline.training.run import train as run

    try:
        options.check_origin(stage=stage, resnet=resnet, backbone=backbone, start=start, from_scratch=from_scratch)
        config = options.make_config(
            resnet=resnet, variant=variant, refine=refine, stage=stage, schedule=schedule, steps=steps,
            batch_size=batch_size, learning_rate=learning_rate, unfreeze_at=unfreeze_at, unfreeze_more=unfreeze_more,
            mask_weight=mask_weight, search_zoom=search_zoom, distractors=distractors, precision=precision,
            held_out=held_out, all_sequences=all_sequences, seed=seed, workers=loaders,
            checkpoint_steps=checkpoint_every, log_steps=log_every, validate_steps=validate_every,
        )  # fmt: skip
        task = Task(
            config=config.to_json(), data=tuple(map(_uri, data or ())), store=_uri(store) if store else None,
            output=_uri(output), split=split, stride=stride, longest_side=longest_side,
            start=_uri(start) if start else None, backbone=_uri(backbone) if backbone else None,
            cache=str(Path(cache).resolve() if cache else default_cache()), cpus=cpus_per_worker, device=device,
        )  # fmt: skip
        status = run(task, config, workers=workers, max_failures=max_failures)
    except (UsageError, typer.BadParameter) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


def _uri(text: str) -> str:
    try:
        return storage.parse(text).uri
    except storage.StorageError as error:
        raise UsageError(str(error)) from error


if __name__ == "__main__":
    app()
