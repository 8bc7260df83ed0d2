#!/usr/bin/env python3
"""Score what the service made, as the field does.

    python jobs/evaluate.py vos --output s3://bucket/run1 --truth s3://bucket/davis --split val
    python jobs/evaluate.py vot --sequences vot2018/
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import add_command, comma_separated, main, new_app
from pipeline.errors import UsageError
from pipeline.evaluate.engine import EngineOptions
from pipeline.job import FINISHED, run_job

if TYPE_CHECKING:
    from model.metrics import Rule, Window

Names = Annotated[tuple[str, ...], Option(help="Only these sequences.", metavar="A,B,...", parser=comma_separated)]
Report = Annotated[str, Option(help="Folder for tables, Markdown and charts.", metavar="URI")]


@dataclass(frozen=True, slots=True)
class VosOptions:
    """What `evaluate vos` was asked to do."""

    output: Annotated[str, Option(help="The output folder of a run.", metavar="URI")]
    truth: Annotated[str, Option(help="Folder with the truth's masks.parquet.", metavar="URI")]
    split: Annotated[str | None, Option(help="Split of the truth, where it has several.")] = None
    names: Names = ()
    rules: Annotated[str, Option(help="davis or youtube-vos.")] = "davis"
    categories: Annotated[
        str | None, Option(help="Which categories training has seen: category, seen.", metavar="URI")
    ] = None
    report: Report = "out/evaluation"


@dataclass(frozen=True, slots=True)
class VotOptions:
    """What `evaluate vot` was asked to do."""

    sequences: Annotated[Path, Option(help="Folder of sequences with rotated ground truth.", metavar="DIR")]
    tracker: EngineOptions = EngineOptions()
    names: Names = ()
    challenge: Annotated[str, Option(help="Whose EAO window: vot2015 to vot2018, or LOW:HIGH.")] = "vot2018"
    at_once: Annotated[int, Option(help="Sequences tracked side by side.", min=1)] = 1
    report: Report = "out/evaluation"


def vos(options: VosOptions) -> int:
    """J and F, mean, recall and decay, of every object of the truth, from the masks of a run."""
    return _evaluate(lambda: _judge_vos(options), options.report)


def vot(options: VotOptions) -> int:
    """Accuracy, robustness and EAO of the tracker, run here under the supervised protocol."""
    return _evaluate(lambda: _judge_vot(options), options.report)


def _judge_vos(options: VosOptions) -> str:
    from pipeline import storage
    from pipeline.evaluate.categories import seen_objects
    from pipeline.evaluate.truth import open_truth
    from pipeline.evaluate.vos import VOS_RULES, judge_vos
    from pipeline.evaluate.vos_tables import warn_missing
    from pipeline.evaluate.write import write_vos
    from pipeline.reading import open_run

    if options.rules not in VOS_RULES:
        raise UsageError(f"--rules {options.rules!r}: expected one of {', '.join(VOS_RULES)}")
    truth = open_truth(options.truth, split=options.split, names=options.names)
    seen = seen_objects(options.categories, truth) if options.categories else None
    run = open_run(options.output)
    storage.check_writable(options.report)
    scores = list(judge_vos(run, truth, options.rules, seen))
    split = {"split": options.split} if options.split else {}
    about = {"output": options.output, "truth": options.truth, **split, "rules": options.rules}
    return write_vos(options.report, scores, about, warn_missing(scores))


def _judge_vot(options: VotOptions) -> str:
    from pipeline import storage
    from pipeline.evaluate.engine import open_engine
    from pipeline.evaluate.sequences import find_sequences
    from pipeline.evaluate.vot import judge_vot
    from pipeline.evaluate.write import write_vot

    windows = _windows(options.challenge)
    options.tracker.check_rotated_box()
    sequences = find_sequences(options.sequences, options.names)
    storage.check_writable(options.report)
    with open_engine(options.tracker, tracks=options.at_once) as engine:
        result = judge_vot(
            sequences,
            engine,
            windows=windows,
            rotated_box=options.tracker.rotated_box,
            at_once=options.at_once,
            done=lambda each: print(f"{each.name}: {len(each)} frames, {len(each.losses)} lost", file=sys.stderr),
        )
    about = {
        "weights": options.tracker.weights or "the bundled model",
        "preset": options.tracker.preset or "the weights' own",
        "rotated box": options.tracker.rotated_box,
        "EAO window": f"{options.challenge}, low to high in frames",
    }
    return write_vot(options.report, result, about)


def _evaluate(judge: Callable[[], str], report: str) -> int:
    """Judge, and print the report's text and where it lies."""
    from pipeline.reading import NoSuchRun
    from pipeline.storage import StorageError

    def work() -> int:
        try:
            print(judge())
        except (StorageError, NoSuchRun) as error:
            raise UsageError(str(error)) from error
        print(f"report    {report}")
        return FINISHED

    return run_job(
        work,
        interrupted="interrupted by {signal}: the report is not whole",
        log_level=logging.WARNING,
        log_format="warning: %(message)s",
    )


def _windows(challenge: str) -> dict[Rule, Window]:
    from model.metrics import EAO_WINDOWS
    from model.metrics.vot import RULES

    if challenge in EAO_WINDOWS:
        return EAO_WINDOWS[challenge]
    low, _, high = challenge.partition(":")
    if not (low.isdigit() and high.isdigit() and 1 <= int(low) <= int(high)):
        raise UsageError(f"--challenge {challenge!r}: expected {', '.join(EAO_WINDOWS)} or LOW:HIGH in frames")
    return dict.fromkeys(RULES, (int(low), int(high)))


app = new_app(
    no_args_is_help=True, help="Score masks by the rules of DAVIS and YouTube-VOS, or rotated boxes by VOT's."
)
add_command(app, vos, UsageError)
add_command(app, vot, UsageError)

if __name__ == "__main__":
    main(app)
