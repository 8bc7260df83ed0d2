#!/usr/bin/env python3
"""Score what the service made, as the field does.

    python jobs/evaluate.py vos --output s3://bucket/run1 --truth s3://bucket/davis --split val
    python jobs/evaluate.py vot --sequences vot2018/
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.options import UsageError

if TYPE_CHECKING:
    from model.metrics import Rule, Window

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)

Names = Annotated[str, typer.Option(help="Only these sequences.", metavar="A,B,...")]
Report = Annotated[str, typer.Option(help="Folder for tables, Markdown and charts.", metavar="URI")]


@app.callback()
def evaluate() -> None:
    """Score masks by the rules of DAVIS and YouTube-VOS, or rotated boxes by VOT's."""
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s", stream=sys.stderr)


@app.command()
def vos(
    output: Annotated[str, typer.Option(help="The output folder of a run.", metavar="URI")],
    truth: Annotated[str, typer.Option(help="Folder with the truth's masks.parquet.", metavar="URI")],
    split: Annotated[str | None, typer.Option(help="Split of the truth, where it has several.")] = None,
    names: Names = "",
    rules: Annotated[str, typer.Option(help="davis or youtube-vos.")] = "davis",
    categories: Annotated[
        str | None, typer.Option(help="Which categories training has seen: category, seen.", metavar="URI")
    ] = None,
    report: Report = "out/evaluation",
) -> None:
    """J and F, mean, recall and decay, of every object of the truth, from the masks of a run."""

    def judge() -> str:
        from pipeline import storage
        from pipeline.evaluate.categories import seen_objects
        from pipeline.evaluate.truth import open_truth
        from pipeline.evaluate.vos import VOS_RULES, judge_vos
        from pipeline.evaluate.vos_tables import warn_missing
        from pipeline.evaluate.write import write_vos
        from pipeline.reading import open_run

        if rules not in VOS_RULES:
            raise UsageError(f"--rules {rules!r}: expected one of {', '.join(VOS_RULES)}")
        true = open_truth(truth, split=split, names=_listed(names))
        seen = seen_objects(categories, true) if categories else None
        run = open_run(output)
        storage.check_writable(report)
        scores = list(judge_vos(run, true, rules, seen))
        about = {"output": output, "truth": truth, **({"split": split} if split else {}), "rules": rules}
        return write_vos(report, scores, about, warn_missing(scores))

    _finish(judge, report)


@app.command()
def vot(
    sequences: Annotated[Path, typer.Option(help="Folder of sequences with rotated ground truth.", metavar="DIR")],
    weights: Annotated[
        str | None, typer.Option(help="Our safetensors or a public SiamMask .pth [the bundled model].", metavar="URI")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Tracker: vot, vot18, davis or a JSON file [the weights' own].")
    ] = None,
    names: Names = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "fp32",
    rotated_box: Annotated[str, typer.Option(help="minmax, mbr, opt or ellipse.")] = "mbr",
    challenge: Annotated[str, typer.Option(help="Whose EAO window: vot2015 to vot2018, or LOW:HIGH.")] = "vot2018",
    at_once: Annotated[int, typer.Option(help="Sequences tracked side by side.", min=1)] = 1,
    report: Report = "out/evaluation",
) -> None:
    """Accuracy, robustness and EAO of the tracker, run here under the supervised protocol."""

    def judge() -> str:
        from pipeline import storage
        from pipeline.evaluate.engine import check_rotated_box, open_engine
        from pipeline.evaluate.sequences import find_sequences
        from pipeline.evaluate.vot import judge_vot
        from pipeline.evaluate.write import write_vot

        windows = _windows(challenge)
        check_rotated_box(rotated_box)
        found = find_sequences(sequences, _listed(names))
        storage.check_writable(report)
        with open_engine(weights, preset=preset, device=device, precision=precision, tracks=at_once) as engine:
            result = judge_vot(
                found,
                engine,
                windows=windows,
                rotated_box=rotated_box,
                at_once=at_once,
                done=lambda each: print(f"{each.name}: {len(each)} frames, {len(each.losses)} lost", file=sys.stderr),
            )
        about = {
            "weights": weights or "the bundled model",
            "preset": preset or "the weights' own",
            "rotated box": rotated_box,
            "EAO window": f"{challenge}, low to high in frames",
        }
        return write_vot(report, result, about)

    _finish(judge, report)


def _finish(judge: Callable[[], str], report: str) -> None:
    from pipeline.reading import NoSuchRun
    from pipeline.storage import StorageError

    try:
        print(judge())
    except (UsageError, StorageError, NoSuchRun) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"report    {report}")


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _windows(challenge: str) -> dict[Rule, Window]:
    from model.metrics import EAO_WINDOWS
    from model.metrics.vot import RULES

    if challenge in EAO_WINDOWS:
        return EAO_WINDOWS[challenge]
    low, _, high = challenge.partition(":")
    if not (low.isdigit() and high.isdigit() and 1 <= int(low) <= int(high)):
        raise UsageError(f"--challenge {challenge!r}: expected {', '.join(EAO_WINDOWS)} or LOW:HIGH in frames")
    return dict.fromkeys(RULES, (int(low), int(high)))


if __name__ == "__main__":
    app()
