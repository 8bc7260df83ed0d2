"""Command line of training on one machine: convert data sets, prepare a store, train, evaluate, tune, bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.command_line import add_command
from model.metrics.presence import MISSED
from model.network.inference import resolve_precision
from model.tracker import load_params, params_from_json
from model.tracker.presence import presence_of
from model.training.checkpoint import WEIGHTS
from model.training.config import HELD_OUT
from model.training.convert import ConvertError
from model.training.convert.command import app as convert_app
from model.training.convert.command import progress_bar
from model.training.data.sources import all_pictures, find_sets
from model.training.data.training_store import write_store
from model.training.evaluate import ClipSet, Result, evaluate, load_clips, table
from model.training.loop import train
from model.training.options import Recipe
from model.training.presence.fit import cross_validate, fit_presence
from model.training.presence.record import play_sequences, record_presence
from model.training.release.bundle import DATA, LICENCE, NAME, run_settings, write_bundle
from model.training.release.card import render_card
from model.training.tune import candidates, tune
from model.training.validate import held_out_sequences, tracking_validation
from model.weights import WeightsError, load_weights

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


app.add_typer(convert_app, name="convert")


@app.command()
def prepare(
    data: Annotated[list[Path], typer.Option(help="folder with training sets in or below it; may be repeated")],
    store: Annotated[Path, typer.Option(help="folder for the decoded pictures")],
    split: Annotated[str, typer.Option(help="split to take of sets with sequences")] = "train",
    stride: Annotated[int, typer.Option(help="take every n-th video frame")] = 1,
    longest_side: Annotated[int, typer.Option(help="reduce larger pictures to this many pixels; 0 keeps them")] = 0,
) -> None:
    """Decode training sets once into a store: 3 bytes a pixel, about 3.5 GB for DAVIS-2016 with 4,000 stills."""
    with progress_bar() as bar, _told():
        pictures = all_pictures(find_sets(data), split=split, stride=stride, progress=bar)
        kept, objects = write_store(pictures, store, longest_side=longest_side)
    typer.echo(f"{kept} pictures with {objects} objects in {store}")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What `train` was asked to do."""

    store: Annotated[Path, typer.Option(help="folder that `prepare` wrote")]
    out: Annotated[Path, typer.Option(help="folder for checkpoint, weights and record; resumed when it holds a run")]
    backbone: Annotated[Path | None, typer.Option(help="ImageNet weights of ResNet-18: torchvision's .pth")] = None
    start: Annotated[Path | None, typer.Option(help="a weights file to start from instead")] = None
    minutes: Annotated[float, typer.Option(help="wall time to train for")] = 90.0
    steps: Annotated[int, typer.Option(help="steps to train for, instead of a time")] = 0
    batch_size: Annotated[int, typer.Option(help="pairs a step")] = 16
    recipe: Recipe = Recipe()
    workers: Annotated[int, typer.Option(help="processes that make batches")] = 1
    davis: Annotated[
        tuple[Path, ...], typer.Option(help="folder whose tables have the held-out sequences; may be repeated")
    ] = ()
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu"
    threads: Annotated[int, typer.Option(help="threads of the network")] = 2
    checkpoint_minutes: Annotated[float, typer.Option(help="time between checkpoints")] = 5.0


def train_command(options: TrainOptions) -> None:
    """Train a SiamMask in this process; the same command again resumes."""
    torch.set_num_threads(options.threads)
    recipe, start = options.recipe, options.start
    recipe.check_origin(backbone=options.backbone, start=start)
    config = recipe.config(
        batch_size=options.batch_size,
        steps=options.steps,
        workers=options.workers,
        minutes=options.minutes,
        checkpoint_minutes=options.checkpoint_minutes,
    )
    with _told():
        validate = None
        if recipe.validate_every:
            sequences = held_out_sequences(list(options.davis), config.held_out)
            validate = tracking_validation(sequences, device=options.device)
        train(
            config, options.store, options.out, backbone=options.backbone, start=start, device=options.device,
            validate=validate, say=typer.echo,
        )  # fmt: skip


add_command(app, train_command, typer.BadParameter, name="train")


@contextmanager
def _told() -> Iterator[None]:
    """Ends with one sentence, which names the fault, where the data or the settings are unusable."""
    try:
        yield
    except (FileNotFoundError, ValueError, WeightsError, ConvertError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@app.command("evaluate")
def evaluate_command(
    weights: Annotated[Path, typer.Option(help="a weights file")],
    davis: Annotated[Path, typer.Option(help="folder with sequences.parquet and masks.parquet")],
    split: str = "val",
    sequence: Annotated[list[str] | None, typer.Option(help="only these; may be repeated")] = None,
    preset: Annotated[str | None, typer.Option(help="tracker preset; else the weights' own")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8")] = "auto",
    threads: int = 2,
) -> None:
    """Track the objects of a set's sequences from their init boxes and print J and F."""
    torch.set_num_threads(threads)
    results = []
    with _told():
        loaded = load_weights(weights)
        own = loaded.metadata.get("tracker")
        params = params_from_json(json.dumps(own)) if own and not preset else load_params(preset or "davis")
        clips = load_clips(davis, split, sequence or ())
        fit, chosen = presence_of(loaded.metadata), resolve_precision(precision, "cpu")
        for result in evaluate(loaded.model, params, clips, presence=fit, precision=chosen):
            results.append(result)
            typer.echo(
                f"{result.name}: J {result.j.mean:.3f} F {result.f.mean:.3f} still {result.still_j:.3f}", err=True
            )
    typer.echo(table(results))


@app.command("tune")
def tune_command(
    weights: Annotated[Path, typer.Option(help="a weights file")],
    davis: Annotated[Path, typer.Option(help="folder with sequences.parquet and masks.parquet")],
    out: Annotated[Path, typer.Option(help="where the best tracker parameters go (JSON)")],
    sequence: Annotated[list[str] | None, typer.Option(help="train sequences; else those held out")] = None,
    both_ways: Annotated[bool, typer.Option("--both-ways", help="track each sequence backwards too")] = False,
    trials: Annotated[int, typer.Option(help="parameter sets to try")] = 12,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8")] = "auto",
    seed: int = 1,
    threads: int = 2,
) -> None:
    """Search tracker parameters on sequences of the train split."""
    torch.set_num_threads(threads)
    best = None
    with _told():
        model = load_weights(weights).model
        clips = ClipSet(davis, "train", tuple(sequence or HELD_OUT), both_ways)
        for trial in tune(model, clips, candidates(trials, seed), precision=resolve_precision(precision, "cpu")):
            scores = ", ".join(f"{name} {value:.3f}" for name, value in trial.j.items())
            typer.echo(f"J {trial.mean:.4f} ({scores}) {trial.params.to_json()}")
            if best is None or trial.mean > best.mean:
                best = trial
                out.write_text(trial.params.to_json() + "\n")


@app.command("presence")
def presence_command(
    weights: Annotated[Path, typer.Option(help="a weights file")],
    davis: Annotated[Path, typer.Option(help="folder with sequences.parquet and masks.parquet")],
    out: Annotated[Path, typer.Option(help="the weights file to write, with the fit in its record")],
    split: str = "train",
    sequence: Annotated[list[str] | None, typer.Option(help="only these; may be repeated")] = None,
    odds: Annotated[float, typer.Option(help="what the odds of rows are multiplied by, see docs/training.md")] = 1.0,
    seed: int = 1,
    threads: int = 2,
) -> None:
    """Fit how probable it is that a mask covers its object, and write weights with that fit.

    Sequences are tracked as they are and with occlusions, exits, cuts and copies pasted in. Prints how well each is
    predicted by a fit to others, and the fit for weights of other features.
    """
    torch.set_num_threads(threads)
    with _told():
        clips = []
        for clip in play_sequences(weights, davis, split, seed=seed, names=sequence or ()):
            clips.append(clip)
            typer.echo(f"{clip.sequence}: {len(clip.iou)} frames, {int((clip.iou < MISSED).sum())} missed", err=True)
        for name, with_likeness in (("with features", True), ("without, for other weights", False)):
            judged = cross_validate(clips, with_likeness=with_likeness)
            typer.echo(
                f"{name}: AUROC {judged.auc:.3f}, AP {judged.precision:.3f}, ECE {judged.calibration:.3f} "
                f"({judged.frames} frames, {judged.missed} missed)"
            )
        record_presence(weights, out, replace(fit_presence(clips), odds=odds))
        typer.echo(json.dumps(fit_presence(clips, with_likeness=False).to_dict()))


@app.command("bundle")
def bundle_command(
    run: Annotated[Path, typer.Option(help="folder of a training run")],
    target: Annotated[Path, typer.Option(help="the file to write")],
    davis: Annotated[Path | None, typer.Option(help="judge the model on its validation sequences, once")] = None,
    tracker: Annotated[Path | None, typer.Option(help="tracker parameters (JSON); else preset davis")] = None,
    card: Annotated[Path | None, typer.Option(help="where the model card goes; needs --davis")] = None,
    start: Annotated[
        Path | None, typer.Option(help="the bundled file that the run started from, for the record of how it was made")
    ] = None,
    name: Annotated[str, typer.Option(help="name that the file records")] = NAME,
    licence: Annotated[str | None, typer.Option(help="terms of the weights; needed for another --name")] = None,
    data_note: Annotated[str | None, typer.Option(help="what they were trained on; needed for another --name")] = None,
    threads: int = 2,
) -> None:
    """Write a shipped weights file from a run, with its scores on the validation sequences; prints their table."""
    torch.set_num_threads(threads)
    if name != NAME and not (licence and data_note):
        raise typer.BadParameter(f"--name {name}: say with --licence and --data-note what its terms and its data are")
    if card is not None and davis is None:
        raise typer.BadParameter("--card needs --davis, whose figures it shows")
    figures: dict[str, float] = {}
    results: list[Result] = []
    with _told():
        params = load_params(str(tracker) if tracker else "davis")
        if davis is not None:
            model = load_weights(run / WEIGHTS).model
            precision = resolve_precision("auto", "cpu")
            results = list(evaluate(model, params, load_clips(davis, "val"), precision=precision))
            figures["davis2016_val_j_mean"] = round(sum(result.j.mean for result in results) / len(results), 4)
            figures["davis2016_val_f_mean"] = round(sum(result.f.mean for result in results) / len(results), 4)
            typer.echo(table(results))
        write_bundle(
            run / WEIGHTS, target, tracker=params, training=run_settings(run), figures=figures, name=name,
            licence=licence or LICENCE, data=data_note or DATA, start=start,
        )  # fmt: skip
    if card is not None:
        card.write_text(render_card(load_weights(target).metadata, results, target.stat().st_size))


if __name__ == "__main__":
    app()
