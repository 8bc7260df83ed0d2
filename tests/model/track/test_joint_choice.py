"""Objects that are chosen together: where the others are, and whose a place is that two of them want."""

from __future__ import annotations

import numpy as np
import pytest

from model.track.joint_choice import JointChoice, box_iou


def box(x: float, y: float = 100.0) -> np.ndarray:
    """40x40 about a centre."""
    return np.array([x - 20.0, y - 20.0, 40.0, 40.0])


def crossing(until: int) -> JointChoice:
    """`a` goes to the right from 100, `b` to the left from 300, 10 pixels a frame each."""
    choice = JointChoice()
    for frame in range(until):
        choice.follow({"a": box(100 + 10 * frame), "b": box(300 - 10 * frame, 115)}, set())
    return choice


def test_apart_each_is_told_the_others_box() -> None:
    others = crossing(3).others()
    assert others["a"].neighbours == [(280.0, 115.0, 40.0, 40.0)] and others["b"].neighbours == [(120, 100, 40, 40)]
    assert not others["a"].taken and not others["a"].is_near


def test_near_each_is_told_where_the_other_is_going_and_keeps_its_size() -> None:
    others = crossing(9).others()
    assert others["a"].is_near and others["b"].is_near and not others["a"].neighbours
    ((x, y, width, height),) = others["a"].taken
    assert x == pytest.approx(210) and y == pytest.approx(115) and (width, height) == (24, 24)


def test_a_place_is_given_to_the_one_whose_way_leads_there() -> None:
    choice = crossing(9)
    both_at_b = {"a": box(213, 113), "b": box(211, 115)}
    assert list(choice.losers(both_at_b, set())) == ["a"]
    assert choice.losers(both_at_b, {"a"}) == {}, "a lost object takes no place"
    assert choice.losers({"a": box(190), "b": box(211, 115)}, set()) == {}


def test_ways_are_followed_through_a_contact_and_a_loss() -> None:
    """While the boxes of both say little, each is expected where it was going."""
    choice = crossing(9)
    for _ in range(6):
        choice.follow({"a": box(200), "b": box(200, 115)}, {"b"})
    at_a = {"a": box(236), "b": box(238, 104)}
    assert list(choice.losers(at_a, set())) == ["b"]


def test_an_object_that_ends_is_forgotten() -> None:
    choice = crossing(3)
    choice.follow({"a": box(130)}, set())
    assert choice.others() == {}


def test_box_iou() -> None:
    table = box_iou(np.stack([box(100), box(120), box(300)]))
    assert table == pytest.approx(np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]))
