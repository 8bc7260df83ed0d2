"""Command line of training: `python -m model.training prepare` and `python -m model.training train`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.losses import LossWeights
from model.network import SiamMaskConfig
from model.prepare import resolve_precision
from model.tracker import load_params, params_from_json
from model.training.bundle import run_settings, write_bundle
from model.training.card import render_card
from model.training.config import HELD_OUT, TrainingConfig
from model.training.evaluate import Result, evaluate, load_clips, table
from model.training.loop import WEIGHTS, train
from model.training.pairs import PairRules
from model.training.sources import all_pictures
from model.training.store import write_store
from model.training.tune import candidates, tune
from model.weights import load_weights

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.command()
def prepare(
    data: Annotated[Path, typer.Option(help="folder with davis/, stills/ and coco128/")],
    store: Annotated[Path, typer.Option(help="folder for the decoded pictures, about 3.5 GB")],
    stride: Annotated[int, typer.Option(help="take every n-th video frame")] = 1,
) -> None:
    """Decode the training sets once into a store."""
    pictures, objects = write_store(all_pictures(data, stride=stride), store)
    typer.echo(f"{pictures} pictures with {objects} objects in {store}")


@app.command("train")
def train_command(
    store: Annotated[Path, typer.Option(help="folder that `prepare` wrote")],
    out: Annotated[Path, typer.Option(help="folder for checkpoint, weights and log; resumed when it holds one")],
    backbone: Annotated[Path | None, typer.Option(help="ImageNet weights of ResNet-18 (.npz)")] = None,
    start: Annotated[Path | None, typer.Option(help="a weights file to start from instead")] = None,
    minutes: Annotated[float, typer.Option(help="wall time to train for")] = 90.0,
    steps: Annotated[int, typer.Option(help="steps to train for, instead of a time")] = 0,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    unfreeze_at: Annotated[float, typer.Option(help="share of the run after which stage 4 trains")] = 0.15,
    mask_weight: float = 36.0,
    search_zoom: Annotated[float, typer.Option(help="range of the object's scale in the search window")] = 0.18,
    variant: Annotated[str, typer.Option(help="three or two branches")] = "three",
    refine: Annotated[bool, typer.Option(help="train the refinement too")] = True,
    all_sequences: Annotated[bool, typer.Option(help="hold no sequence out")] = False,
    seed: int = 1,
    workers: Annotated[int, typer.Option(help="processes that make batches")] = 1,
    threads: Annotated[int, typer.Option(help="threads of the network")] = 2,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Train a ResNet-18 SiamMask."""
    torch.set_num_threads(threads)
    config = TrainingConfig(
        network=SiamMaskConfig("resnet18", "two" if variant == "two" else "three", refine),
        weights=replace(LossWeights(), mask=mask_weight),
        pairs=PairRules(search_zoom=search_zoom),
        held_out=() if all_sequences else HELD_OUT,
        minutes=minutes,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        unfreeze_at=unfreeze_at,
        seed=seed,
        workers=workers,
        checkpoint_minutes=checkpoint_minutes,
    )
    train(config, store, out, backbone=backbone, start=start, say=typer.echo)


@app.command("evaluate")
def evaluate_command(
    weights: Annotated[Path, typer.Option(help="a weights file")],
    davis: Annotated[Path, typer.Option(help="folder with sequences.parquet and masks.parquet")],
    split: str = "val",
    sequence: Annotated[list[str] | None, typer.Option(help="only these; may be repeated")] = None,
    preset: Annotated[str | None, typer.Option(help="tracker preset; else the weights' own")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "auto",
    threads: int = 2,
) -> None:
    """Track DAVIS sequences from their init boxes and print J and F."""
    torch.set_num_threads(threads)
    loaded = load_weights(weights)
    own = loaded.metadata.get("tracker")
    params = params_from_json(json.dumps(own)) if own and not preset else load_params(preset or "davis")
    results = []
    clips = load_clips(davis, split, sequence or ())
    for result in evaluate(loaded.model, params, clips, precision=resolve_precision(precision, "cpu")):
        results.append(result)
        typer.echo(f"{result.name}: J {result.j.mean:.3f} F {result.f.mean:.3f} still {result.still_j:.3f}", err=True)
    typer.echo(table(results))


@app.command("tune")
def tune_command(
    weights: Annotated[Path, typer.Option(help="a weights file")],
    davis: Annotated[Path, typer.Option(help="folder with sequences.parquet and masks.parquet")],
    out: Annotated[Path, typer.Option(help="where the best tracker parameters go (JSON)")],
    sequence: Annotated[list[str] | None, typer.Option(help="train sequences; else those held out")] = None,
    trials: Annotated[int, typer.Option(help="parameter sets to try")] = 12,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "auto",
    seed: int = 1,
    threads: int = 2,
) -> None:
    """Search tracker parameters on sequences of the train split."""
    torch.set_num_threads(threads)
    model = load_weights(weights).model
    clips = list(load_clips(davis, "train", sequence or HELD_OUT))
    typer.echo("clips: " + ", ".join(clip.name for clip in clips))
    best = None
    for trial in tune(model, clips, candidates(trials, seed), precision=resolve_precision(precision, "cpu")):
        scores = " ".join(f"{value:.3f}" for value in trial.j)
        typer.echo(f"J {trial.mean:.4f} ({scores}) {trial.params.to_json()}")
        if best is None or trial.mean > best.mean:
            best = trial
            out.write_text(trial.params.to_json() + "\n")


@app.command("bundle")
def bundle_command(
    run: Annotated[Path, typer.Option(help="folder of a training run")],
    target: Annotated[Path, typer.Option(help="the file to write")],
    davis: Annotated[Path | None, typer.Option(help="judge the model on its validation sequences, once")] = None,
    tracker: Annotated[Path | None, typer.Option(help="tracker parameters (JSON); else preset davis")] = None,
    card: Annotated[Path | None, typer.Option(help="where the model card goes; needs --davis")] = None,
    threads: int = 2,
) -> None:
    """Write a shipped weights file from a run, with its scores on the validation sequences; prints their table."""
    torch.set_num_threads(threads)
    params = load_params(str(tracker) if tracker else "davis")
    figures: dict[str, float] = {}
    results: list[Result] = []
    if davis is not None:
        model = load_weights(run / WEIGHTS).model
        results = list(evaluate(model, params, load_clips(davis, "val"), precision=resolve_precision("auto", "cpu")))
        figures["davis2016_val_j_mean"] = round(sum(result.j.mean for result in results) / len(results), 4)
        figures["davis2016_val_f_mean"] = round(sum(result.f.mean for result in results) / len(results), 4)
        typer.echo(table(results))
    write_bundle(run / WEIGHTS, target, tracker=params, training=run_settings(run), figures=figures)
    if card is not None:
        card.write_text(render_card(load_weights(target).metadata, results, target.stat().st_size))


if __name__ == "__main__":
    app()
