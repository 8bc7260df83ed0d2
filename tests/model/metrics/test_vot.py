"""VOT's supervised protocol, and accuracy, robustness and EAO under both rules, on runs worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.metrics import EAO_WINDOWS, State, Trajectory, judged_overlaps, polygon_overlap, run_supervised, scores


def box(x: float, y: float = 20, side: float = 20) -> np.ndarray:
    return np.array([x, y, x + side, y, x + side, y + side, x, y + side], np.float32)


class Scripted:
    """Says what it is told, frame by frame, and keeps what it was asked; a frame's first pixel is its number."""

    def __init__(self, said: dict[int, np.ndarray]) -> None:
        self.said = said
        self.started: list[tuple[int, list[float]]] = []
        self.tracked: list[int] = []

    def start(self, frame: np.ndarray, polygon: np.ndarray) -> None:
        self.started.append((int(frame[0, 0, 0]), polygon.tolist()))

    def track(self, frame: np.ndarray) -> np.ndarray:
        self.tracked.append(int(frame[0, 0, 0]))
        return self.said.get(self.tracked[-1], box(30))


def frames(count: int) -> list[np.ndarray]:
    return [np.full((80, 120, 3), index, np.uint8) for index in range(count)]


def test_edges_belong_to_a_polygon() -> None:
    # 21 columns each, 11 of them shared: the overlap of areas would be 10 / 30.
    assert polygon_overlap(box(30), box(40), 120, 80) == pytest.approx(11 / 31)


def test_what_lies_outside_the_frame_does_not_count() -> None:
    assert polygon_overlap(box(-10), box(-4), 120, 80) == pytest.approx(11 / 17)
    assert polygon_overlap(box(106), box(112), 120, 80) == pytest.approx(8 / 14)
    assert polygon_overlap(box(20, 66), box(20, 72), 120, 80) == pytest.approx(8 / 14)
    assert polygon_overlap(box(-60), box(-50), 120, 80) == 0


def test_a_polygon_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        polygon_overlap(np.full(8, np.nan), box(3), 120, 80)


def test_a_lost_tracker_starts_again_five_frames_later_on_the_truth() -> None:
    truth = np.stack([box(30 + index) for index in range(20)])
    tracker = Scripted({4: box(90)} | {index: box(30 + index) for index in range(20) if index != 4})
    run = run_supervised("s", tracker, frames(20), truth)
    assert tracker.started == [(0, truth[0].tolist()), (9, truth[9].tolist())]
    assert tracker.tracked == [1, 2, 3, 4, *range(10, 20)]
    assert run.starts == [0, 9]
    assert run.losses == [4]
    assert (run.states[5:9] == State.SKIPPED).all()
    assert np.isnan(run.overlaps[[0, *range(5, 10)]]).all()
    assert run.overlaps[4] == 0
    assert (run.overlaps[[1, 2, 3, *range(10, 20)]] == 1).all()


def test_a_loss_near_the_end_leaves_no_frame_to_start_again() -> None:
    truth = np.stack([box(30)] * 8)
    run = run_supervised("s", Scripted({5: box(90)}), frames(8), truth)
    assert (run.starts, run.losses) == ([0], [5])
    assert run.states[6:].tolist() == [State.SKIPPED] * 2


@pytest.mark.parametrize(("count", "what"), [(7, "only 7"), (9, "more than 8")])
def test_frames_and_truth_must_be_of_one_number(count: int, what: str) -> None:
    with pytest.raises(ValueError, match=f"sequence bag: {what} frames, but 8 lines of truth"):
        run_supervised("bag", Scripted({}), frames(count), np.stack([box(30)] * 8))


def test_a_truth_without_area_at_a_restart_is_named() -> None:
    class Strict(Scripted):
        def start(self, frame: np.ndarray, polygon: np.ndarray) -> None:
            if np.ptp(polygon) == 0:
                raise ValueError("the polygon has no area")

    truth = np.stack([box(30)] * 9 + [np.full(8, 30, np.float32)])
    with pytest.raises(ValueError, match="sequence bag, frame 9: the polygon has no area"):
        run_supervised("bag", Strict({4: box(90)}), frames(10), truth)


def trajectory(length: int, losses: tuple[int, ...] = (), overlap: float = 0.5, name: str = "s") -> Trajectory:
    states = np.full(length, State.TRACKED, np.int8)
    states[0] = State.STARTED
    for loss in losses:
        states[loss], states[loss + 1 : loss + 5] = State.LOST, State.SKIPPED
        states[loss + 5 : loss + 6] = State.STARTED
    overlaps = np.where(states == State.TRACKED, overlap, np.where(states == State.LOST, 0.0, np.nan))
    return Trajectory(name, states, np.zeros((length, 8), np.float32), overlaps)


def test_ten_frames_from_each_start_do_not_count_towards_accuracy() -> None:
    run = trajectory(40, (15,))
    run.overlaps[:] = np.where(np.isnan(run.overlaps), np.nan, np.arange(40) / 100)
    # Started at 0 and 20: frames 10 to 14 and 30 to 39 count.
    assert judged_overlaps(run) == pytest.approx([*np.arange(10, 15) / 100, *np.arange(30, 40) / 100])


def test_the_rules_put_sequences_together_each_in_its_way() -> None:
    runs = [trajectory(30, overlap=0.8), trajectory(60, (10, 40), overlap=0.4)]
    reference, toolkit = (scores(runs, rule, (5, 20)) for rule in ("reference", "vot-toolkit"))
    # Frames that count: 20 of the first, and 25 to 39 and 55 to 59 of the second.
    assert reference.accuracy == pytest.approx((20 * 0.8 + 20 * 0.4) / 40)
    assert toolkit.accuracy == pytest.approx((30 * 0.8 + 60 * 0.4) / 90)
    assert reference.robustness == pytest.approx(100 * 2 / 90)
    assert toolkit.robustness == pytest.approx((30 * 0 + 60 * 2) / 90)
    assert reference.reliability == pytest.approx(math.exp(-30 * 2 / 90))
    assert (reference.losses, reference.frames) == (2, 90)


def test_expected_overlap_of_a_lost_run_under_both_rules() -> None:
    run = trajectory(12, (4,))
    reference, toolkit = (scores([run], rule, (3, 6)) for rule in ("reference", "vot-toolkit"))
    # `reference`: runs of frames 0 to 9, gone on with zeros, and 9 to 11.
    assert reference.curve[1:] == pytest.approx([0.5, 0.5, 0.5, *(1.5 / k for k in range(4, 12))])
    assert reference.eao == pytest.approx((0.5 + 0.5 + 1.5 / 4 + 1.5 / 5) / 4)
    # `vot-toolkit`: frames 0 to 3, and 9 to 11; no run is longer.
    assert toolkit.curve == pytest.approx([0, 0.5, 0.5, 0.5])
    assert toolkit.eao == pytest.approx(0.5)


def test_a_loss_at_the_end_does_not_cut_the_references_run() -> None:
    runs = [trajectory(12, (9,)), trajectory(20)]
    reference, toolkit = (scores(runs, rule, (2, 12)) for rule in ("reference", "vot-toolkit"))
    to_its_end = [0.5] * 8 + [(4 / k + 0.5) / 2 for k in range(9, 12)]
    assert reference.curve[1:] == pytest.approx(to_its_end + [0.5] * 8)
    assert toolkit.curve[1:] == pytest.approx(to_its_end + [(4 / k + 0.5) / 2 for k in range(12, 20)])


def test_the_reference_weighs_a_loss_five_frames_before_the_end_less() -> None:
    runs = [trajectory(12, (7,)), trajectory(20)]
    reference, toolkit = (scores(runs, rule, (2, 12)) for rule in ("reference", "vot-toolkit"))
    # Six frames of overlap 0.5, then zeros up to the longest length, as a lost run; 12 / 13 of a run of 12 frames.
    lost = [3 / max(k, 6) for k in range(1, 20)]
    assert reference.curve[1:] == pytest.approx([(12 / 13 * mean + 0.5) / (12 / 13 + 1) for mean in lost])
    assert toolkit.curve[1:] == pytest.approx([(mean + 0.5) / 2 for mean in lost])


def test_each_rule_has_its_own_window_of_vot2016() -> None:
    runs = [trajectory(400, overlap=0.8), trajectory(110, (50,), overlap=0.4)]
    windows = EAO_WINDOWS["vot2016"]
    reference, toolkit = (scores(runs, rule, windows[rule]) for rule in ("reference", "vot-toolkit"))
    assert (reference.window, toolkit.window) == ((100, 356), (108, 371))
    assert reference.eao == pytest.approx(reference.curve[99:356].mean())
    assert toolkit.eao == pytest.approx(toolkit.curve[108:372].mean())
    assert EAO_WINDOWS["vot2015"]["reference"] == EAO_WINDOWS["vot2015"]["vot-toolkit"] == (108, 371)


def test_eao_of_sequences_shorter_than_the_window_is_unknown() -> None:
    assert math.isnan(scores([trajectory(30)], "reference", (100, 356)).eao)
    assert math.isnan(scores([trajectory(30)], "vot-toolkit", (100, 356)).eao)


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no trajectory"):
        scores([], "reference", (1, 2))
    with pytest.raises(ValueError, match="'vot2018'"):
        scores([trajectory(9)], "vot2018", (1, 2))  # type: ignore[arg-type]
