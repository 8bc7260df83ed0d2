"""Ways to compute a step: of several the fastest right one is taken."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model.engine.stepper import Step, Stepper, StepResult
from model.engine.trial_book import TrialBook
from model.engine.ways import PLAIN, StepTrial, Ways, fastest_stepper
from model.tracker import PRESETS, TrackState
from tests.model.engine.fake_cuda import cuda

__all__ = ["cuda"]
pytestmark = pytest.mark.usefixtures("one_runner")


class Clock:
    """Goes on only where a step says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@dataclass
class Lasting:
    """A step that takes so long by the clock, and counts its calls."""

    seconds: float
    compute: Step
    calls: int = 0

    def __call__(self, *given: Any) -> Any:
        CLOCK.now += self.seconds
        self.calls += 1
        return self.compute(*given)


def quick(stepper: Stepper) -> Step:
    return Lasting(0.01, stepper.step)


def slow(stepper: Stepper) -> Step:
    return Lasting(0.04, stepper.step)


def wrong(stepper: Stepper) -> Step:
    """Another mask, by little more than rounding."""

    def step(*given: Any) -> Any:
        out, masks, evidence = stepper.step(*given)
        return out, (masks + 0.01).clamp(0, 1), evidence

    return Lasting(0.01, step)


def wrong_after_a_while(stepper: Stepper) -> Step:
    def step(*given: Any) -> Any:
        out, masks, evidence = stepper.step(*given)
        return (out, masks, evidence) if lasting.calls < 3 else (out, masks * float("nan"), evidence)

    lasting = Lasting(0.01, step)
    return lasting


def raising(stepper: Stepper) -> Step:
    def step(*given: Any) -> Any:
        raise RuntimeError("no kernel image is available\nfor this device")

    return step


def hanging(stepper: Stepper) -> Step:
    def step(*given: Any) -> Any:
        threading.Event().wait(30)
        raise AssertionError

    return step


def choose(stepper: Stepper, ways: Ways, book: Path | None, **options: Any) -> tuple[Any, dict[str, StepTrial]]:
    """The step that is taken, and the trials by way."""
    options = {"seconds": 0.035, "book": TrialBook(book), "clock": CLOCK, "key": "", **options}
    chosen, trials = fastest_stepper(stepper, lambda: stepper, ways=ways, **options)
    return chosen._run, {trial.way: trial for trial in trials}


def test_the_faster_of_two_right_ways_is_taken_and_both_are_told(stepper, tmp_path):
    step, trials = choose(stepper, {PLAIN: slow, "quick": quick}, tmp_path / "book.json")
    assert step.seconds == 0.01
    assert [trials[way].seconds for way in ("quick", PLAIN)] == pytest.approx([0.01, 0.04])
    assert trials["quick"].deviation == trials[PLAIN].deviation == 0


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        (wrong, r"its outcomes are 0.0\d+ from those in float32, not 0.001"),
        (wrong_after_a_while, "its outcomes are inf"),
        (raising, "RuntimeError: no kernel image is available$"),
        (hanging, "did not end within 3 s"),
    ],
)
def test_what_is_wrong_fails_or_hangs_is_named_and_not_taken(stepper, caplog, way, fault):
    patience = 3.0 if way is hanging else 60.0
    step, trials = choose(stepper, {PLAIN: slow, "odd": way}, None, patience_s=patience)
    assert step.seconds == 0.04 and trials[PLAIN].fault is None
    (line,) = caplog.messages
    assert line.startswith("steps on cpu are not odd: ")
    assert re.search(fault, trials["odd"].fault) and trials["odd"].fault in line


def test_every_size_of_batch_is_warm_that_memory_holds(model, cuda):
    sizes: list[int] = []
    stepper = Stepper(model, PRESETS["vot"], device="cuda", precision="fp32", batch_sizes=[1, 2, 4])

    def seen(search: torch.Tensor, *given: Any) -> Any:
        sizes.append(len(search))
        return stepper.step(search, *given)

    stepper.running(seen).warm_up()
    assert sizes == [1, 2, 4]
    with pytest.raises(RuntimeError, match="no kernel image"):
        stepper.running(raising(stepper)).warm_up()

    def full(search: torch.Tensor, *given: Any) -> Any:
        sizes.append(len(search))
        if len(search) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stepper.step(search, *given)

    sizes.clear()
    stepper.running(full).warm_up()
    assert sizes == [1, 2] and cuda.released == 1


def test_the_way_that_is_taken_is_warm_for_every_size(stepper):
    sizes: list[int] = []

    def noting(stepper: Stepper) -> Step:
        def step(search: torch.Tensor, *given: Any) -> Any:
            sizes.append(len(search))
            return stepper.step(search, *given)

        return Lasting(0.01, step)

    choose(stepper, {PLAIN: slow, "noting": noting}, None)
    assert sizes[-2:] == [1, 2]


def test_a_slow_way_is_not_repeated(stepper):
    made = []

    def sluggish(stepper: Stepper) -> Step:
        made.append(Lasting(0.03, stepper.step))
        return made[-1]

    step, trials = choose(stepper, {PLAIN: quick, "sluggish": sluggish}, None, seconds=0.1)
    assert step.seconds == 0.01 and trials["sluggish"].fault is None
    assert made[0].calls == 2


def test_what_the_plain_way_raises_is_raised(stepper):
    with pytest.raises(RuntimeError, match="no kernel image"):
        choose(stepper, {PLAIN: raising}, None)


def test_rounding_of_a_precision_is_allowed(model, stepper):
    coarse = Stepper(model, PRESETS["vot"], device="cpu", precision="bf16", batch_sizes=[1])
    ways = {PLAIN: slow, "other": quick}
    _, trials = fastest_stepper(
        coarse, lambda: stepper, key="", ways=ways, book=TrialBook(None), clock=CLOCK, seconds=0.0
    )
    apart = {trial.deviation for trial in trials}
    assert len(apart) == 1 and 0 < apart.pop() < 0.1
    assert [trial.fault for trial in trials] == [None, None]


def test_trials_are_kept_for_the_processes_that_follow(stepper, tmp_path):
    book, tried = tmp_path / "book.json", []

    def counted(stepper: Stepper) -> Step:
        tried.append(1)
        return quick(stepper)

    ways = {PLAIN: slow, "quick": counted}
    first = choose(stepper, ways, book)[1]
    assert len(tried) == 2  # once to try it, once to use it
    step, again = choose(stepper, ways, book)
    assert again == first and len(tried) == 3 and step.seconds == 0.01
    for damaged in ("[1", "[1]", "{}", '[{"seconds": 1}]', '[{"way": "gone", "seconds": 1}]'):
        book.write_text(damaged)
        assert choose(stepper, ways, book)[1].keys() == first.keys()


def _ends_its_process(stepper: Stepper) -> Step:
    os._exit(7)


def _take_the_plain_one(stepper: Stepper) -> None:
    """What would run a network runs in this process alone: one that is forked off has none of torch's threads."""
    answer = StepResult(TrackState(9, 9, 9, 9), 0.5, 0, 0, np.zeros((1, 1)), np.zeros(1))
    fake: Any = stepper
    fake.templates = lambda crops: [None] * len(crops)
    fake.launch = lambda inputs: SimpleNamespace(result=lambda: [answer] * len(inputs))


def _try_in_another_process(stepper: Stepper, book: Path) -> None:
    _take_the_plain_one(stepper)
    choose(stepper, {PLAIN: slow, "odd": _ends_its_process}, book)


def test_a_way_that_ended_a_process_is_not_tried_again(stepper, tmp_path):
    book = tmp_path / "book.json"
    process = multiprocessing.get_context("fork").Process(target=_try_in_another_process, args=(stepper, book))
    process.start()
    process.join()
    assert process.exitcode == 7
    for _ in range(2):
        step, trials = choose(stepper, {PLAIN: slow, "odd": hanging}, book)
        assert trials["odd"].fault == "a process that tried it ended" and step.seconds == 0.04


def test_a_way_that_another_process_is_trying_is_tried_here_too(stepper, tmp_path):
    (tmp_path / f"book.{os.getppid()}.trying").write_text("quick")
    assert choose(stepper, {PLAIN: slow, "quick": quick}, tmp_path / "book.json")[1]["quick"].fault is None
