"""The ways to compute a step, each tried on the device itself: the fastest that is right is taken.

What a card, its driver and this build of torch do together is known only there. A way that fails, is wrong, or does not
end costs a line in the log. What came of it is kept for each kind of device, also where a way ends the process.
"""

from __future__ import annotations

import logging
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from model.engine.recorded import RecordedStep
from model.engine.stepper import Step, StepInput, Stepper, StepResult
from model.engine.trial_book import TrialBook
from model.network.cudnn import fused_copy
from model.tracker import TrackState
from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE

log = logging.getLogger(__name__)

PLAIN = "plain"
Ways = Mapping[str, Callable[[Stepper], Step]]
WAYS: Ways = {
    PLAIN: lambda stepper: stepper.step,
    "recorded": lambda stepper: RecordedStep(stepper.step, stepper.device),
    "fused": lambda stepper: stepper.step_with(fused_copy),
    "fused, recorded": lambda stepper: RecordedStep(stepper.step_with(fused_copy), stepper.device),
}

TRACKS = 16
"""So many, at most, are stepped together in a trial."""
ROUNDING, LEAST = 1.5, 1e-3
"""A way may deviate so many times as far from float32 as the plain step of the same precision does, and by so much."""
_LONGEST_FAULT = 160  # characters
_FIGURES = ("seconds", "deviation", "fault")
_SLOWER = 2.0  # times the plain step, after which a way is not repeated


@dataclass(frozen=True, slots=True)
class StepTrial:
    """What came of trying a way.

    Attributes:
        way: its name.
        seconds: of a step of the trial's tracks, the least; None where it did not end.
        deviation: of its scores, states and masks from those in float32, as `deviation` has it; None likewise.
        fault: why it is not to be used; None where it may be.
    """

    way: str
    seconds: float | None = None
    deviation: float | None = None
    fault: str | None = None


def fastest_stepper(
    stepper: Stepper,
    exact: Callable[[], Stepper],
    *,
    key: str,
    ways: Ways = WAYS,
    seconds: float = 1.0,
    patience_s: float = 60.0,
    book: TrialBook | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Stepper, list[StepTrial]]:
    """Try every way and return the stepper that goes the fastest right one, warm, with what came of all.

    Args:
        stepper: computes plainly.
        exact: makes one that does in float32.
        key: what beside the kind of device decides on the outcome: precision, network, versions.
        ways: by name, `PLAIN` among them; each makes the function of a stepper.
        seconds: for each way.
        patience_s: a way that has not ended by then is left behind.
        book: where the trials of earlier processes are; by default this user's own.
        clock: seconds that go by.
    """
    book = book or TrialBook.of_user(f"{stepper.device.kind} {key}")
    known = {row["way"]: StepTrial(row["way"], *map(row.get, _FIGURES)) for row in book.read() if row["way"] in ways}
    if set(known) != set(ways):
        sample = _Sample.of(stepper, exact, clock)
        plain = known[PLAIN] = sample.tried(PLAIN, ways[PLAIN], seconds, patience_s)
        for way in sorted(ways.keys() - known.keys()):
            book.begin(way)
            known[way] = sample.tried(way, ways[way], seconds, patience_s, plain)
            book.end()
        book.write([asdict(trial) for trial in known.values()])
    for trial in known.values():
        if trial.fault is not None:
            log.warning("steps on %s are not %s: %s", stepper.device.kind, trial.way, trial.fault)
    best = min(
        (trial for trial in known.values() if trial.fault is None and trial.seconds is not None),
        key=lambda trial: trial.seconds or 0.0,
        default=StepTrial(PLAIN),
    )
    chosen = stepper.running(ways[best.way](stepper))
    chosen.warm_up()
    return chosen, list(known.values())


def deviation(made: Sequence[StepResult], wanted: Sequence[StepResult]) -> float:
    """How far outcomes are from others: the largest root mean square of masks, of scores, of states in sizes."""
    apart = [
        (one.mask - other.mask, one.score - other.score, _vector(one.state, other.state))
        for one, other in zip(made, wanted, strict=True)
    ]
    parts = (np.stack([np.asarray(row[i], np.float64).ravel() for row in apart]) for i in range(3))
    worst = max(float(np.sqrt(np.mean(np.square(part)))) for part in parts)
    return worst if np.isfinite(worst) else float("inf")


def _vector(state: TrackState, other: TrackState) -> list[float]:
    size = max(1.0, other.width, other.height)
    names = ("centre_x", "centre_y", "width", "height")
    return [(getattr(state, name) - getattr(other, name)) / size for name in names]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Tracks to try a stepper with, and their outcomes in float32."""

    stepper: Stepper
    inputs: list[StepInput]
    wanted: list[StepResult]
    clock: Callable[[], float]

    @classmethod
    def of(cls, stepper: Stepper, exact: Callable[[], Stepper], clock: Callable[[], float]) -> _Sample:
        count = max((size for size in stepper.batch_sizes if size <= TRACKS), default=1)
        searches = [_scene(number, SEARCH_SIZE) for number in range(count)]
        crops = [_scene(number, TEMPLATE_SIZE) for number in range(count)]
        reference = exact()
        states = [TrackState(100.0, 100.0, 40.0 + 2 * number, 44.0) for number in range(count)]
        own, others = stepper.templates(crops), reference.templates(crops)
        inputs = [
            StepInput(kernels, search, state, 1.5, (200, 200), hold=False)
            for kernels, search, state in zip(own, searches, states, strict=True)
        ]
        in_float = [replace(item, kernels=kernels) for item, kernels in zip(inputs, others, strict=True)]
        return cls(stepper, inputs, reference.launch(in_float).result(), clock)

    def tried(
        self,
        way: str,
        make: Callable[[Stepper], Step],
        seconds: float,
        patience_s: float,
        plain: StepTrial | None = None,
    ) -> StepTrial:
        """Try a way in a thread of its own. Raises what the plain one raises."""
        outcome: list[StepTrial | Exception] = []

        def work() -> None:
            try:
                outcome.append(self._measured(way, self.stepper.running(make(self.stepper)), seconds, plain))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=work, name=f"try-{way}", daemon=True)
        thread.start()
        thread.join(patience_s)
        if not outcome:
            return StepTrial(way, fault=f"it did not end within {patience_s:g} s")
        if isinstance(outcome[0], StepTrial):
            return outcome[0]
        if plain is None:
            raise outcome[0]
        return StepTrial(way, fault=_fault(outcome[0]))

    def _measured(self, way: str, stepper: Stepper, seconds: float, plain: StepTrial | None) -> StepTrial:
        allowed = float("inf") if plain is None else LEAST + ROUNDING * (plain.deviation or 0.0)
        best, apart, until = float("inf"), 0.0, self.clock() + seconds
        for number in range(1_000):
            began = self.clock()
            results = stepper.launch(self.inputs).result()
            took = self.clock() - began
            apart = max(apart, deviation(results, self.wanted))
            if apart > allowed:
                fault = f"its outcomes are {apart:.2g} from those in float32, not {allowed:.2g}"
                return StepTrial(way, took, apart, fault)
            if number:  # the first one sets up
                best = min(best, took)
                slow = plain is not None and plain.seconds is not None and best > _SLOWER * plain.seconds
                if slow or self.clock() > until:
                    break
        return StepTrial(way, best, apart)


def _fault(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {textwrap.shorten(first, _LONGEST_FAULT, placeholder=' …')}"


def _scene(number: int, side: int) -> np.ndarray:
    """A bright patch on blurred noise, uint8 [side, side, 3]; the same object for each number, whatever the side."""
    noise = np.random.default_rng(number).integers(0, 120, (side // 15 + 1, side // 15 + 1, 3), np.uint8)
    scene = noise.repeat(15, 0).repeat(15, 1)[:side, :side].copy()
    middle, half = side // 2, 24 + number
    scene[middle - half : middle + half, middle - half : middle + half] = (200, 90 + 9 * number, 250 - 9 * number)
    return scene
