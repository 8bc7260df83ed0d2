#!/usr/bin/env python3
"""Search tracker parameters for a model on sequences of the train split, many candidates side by side.

    ray job submit --working-dir . -- python jobs/tune.py --weights s3://bucket/weights.safetensors \
        --data s3://bucket/davis --output s3://bucket/tune1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline import storage
from pipeline.options import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def tune(
    weights: Annotated[str, typer.Option(help="A weights file.", metavar="URI")],
    data: Annotated[str, typer.Option(help="A set with sequences and masks.", metavar="URI")],
    output: Annotated[str, typer.Option(help="Folder for tracker.json and trials.csv.", metavar="URI")],
    sequence: Annotated[list[str] | None, typer.Option(help="Sequences to track [those held out of training].")] = None,
    both_ways: Annotated[bool, typer.Option("--both-ways", help="Track each sequence backwards too.")] = False,
    split: Annotated[str, typer.Option(help="Their split.")] = "train",
    trials: Annotated[int, typer.Option(help="Parameter sets to try.")] = 12,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random parameter sets.")] = 1,
    cpus_per_trial: Annotated[int, typer.Option(help="CPUs that a trial claims.")] = 2,
    cache: Annotated[str | None, typer.Option(help="Folder of each node for copied sets.")] = None,
) -> None:
    """Write the parameters with the best mean J of WEIGHTS on DATA to OUTPUT/tracker.json."""
    from pipeline.raycluster import choose_authentication

    choose_authentication()
    from model.prepare import resolve_precision
    from model.training.config import HELD_OUT
    from model.training.tune import candidates
    from pipeline.training.cache import default_cache
    from pipeline.training.tune import Search
    from pipeline.training.tune import tune as run

    try:
        search = Search(
            weights=storage.parse(weights).uri,
            data=storage.parse(data).uri,
            split=split,
            sequences=tuple(sequence or HELD_OUT),
            both_ways=both_ways,
            candidates=tuple(params.to_json() for params in candidates(trials, seed)),
            precision=resolve_precision(precision, "cpu"),
            cache=str(Path(cache).resolve() if cache else default_cache()),
            cpus=cpus_per_trial,
        )
        status = run(search, storage.parse(output).uri)
    except (UsageError, storage.StorageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    app()
