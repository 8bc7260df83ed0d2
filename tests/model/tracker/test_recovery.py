"""When a track is lost, where it is searched for, and when it is believed to be found; and what looks like it."""

from __future__ import annotations

import math

import pytest

from model.tracker import TrackState
from model.tracker.crop import context_side
from model.tracker.recovery import FOLLOWED_ON, PATIENCE, Recovery, before_loss, tiles
from model.tracker.rivals import Rivals, apart

FRAME = (360, 640)
START = TrackState(100.0, 180.0, 60.0, 40.0)


def moved(state: TrackState, x: float, y: float = 0.0) -> TrackState:
    return TrackState(state.centre_x + x, state.centre_y + y, state.width, state.height)


def lost_after(steps: int = 5, speed: float = 3.0) -> Recovery:
    """A track that went to the right for so many frames and was lost then."""
    recovery = Recovery(START, FRAME, 0.5)
    for step in range(1, steps + 1):
        recovery.followed(0.9, moved(START, speed * step), None)
    for _ in range(PATIENCE):
        assert len(recovery.looks(START)) == 1
        recovery.followed(0.1, moved(START, 400), None)
    return recovery


def test_one_window_until_presence_stays_low_for_a_while() -> None:
    recovery = Recovery(START, FRAME, 0.5)
    for presence in [0.1] * (PATIENCE - 1) + [0.3] + [0.1] * (PATIENCE - 1):
        recovery.followed(presence, START, None)
        (look,) = recovery.looks(START)
        assert look.state == START and look.zoom == 1 and not look.is_free
    recovery.followed(0.1, START, None)
    assert len(recovery.looks(START)) == 2


def test_a_lost_track_keeps_its_place_and_looks_where_it_was_going_and_everywhere() -> None:
    recovery = lost_after()
    assert list(recovery.place.centre) == [115, 180], "what was seen while it was in doubt says nothing"
    centres, zooms, ahead = set(), set(), []
    for turn in range(40):
        near, tile = recovery.looks(START)
        assert near.is_free == (turn >= FOLLOWED_ON)
        zooms.add(near.zoom)
        if near.zoom == 1 and near.is_free:
            ahead.append(near.state.centre_x - 115 - 3 * turn)
        centres.add(tile.state.centre)
        recovery.searched([0.0, 0.0], [near.state, tile.state], [None, None])
    assert zooms == {1.0, 2.0} and ahead == pytest.approx([0.0] * len(ahead))
    assert centres == {look.state.centre for look in tiles(recovery.place, FRAME, 0.5)}


def test_a_lost_track_is_followed_on_for_a_while_and_may_come_to_itself() -> None:
    recovery = lost_after()
    followed = moved(START, 400)
    recovery.rivals.add(moved(START, 410))
    for step in range(3):
        near, _ = recovery.looks(START, [(1, 2, 3, 4)])
        assert near.state == followed and not near.is_free and near.zoom == 1
        assert list(near.avoid) == [(1.0, 2.0, 3.0, 4.0)], "what is at its own place is no rival; a neighbour is one"
        followed = moved(START, 390 - 5 * step)
        recovery.searched([0.3, 0.0], [followed, START], [None, None])
    recovery.searched([0.6, 0.0], [moved(START, 90), START], [None, None])
    recovery.searched([0.6, 0.0], [moved(START, 80), START], [None, None])
    assert not recovery.is_lost


@pytest.mark.parametrize(("frame", "size"), [((360, 640), 60.0), ((1080, 1920), 30.0), ((240, 320), 200.0)])
def test_tiles_cover_the_frame_and_are_few(frame: tuple[int, int], size: float) -> None:
    place = TrackState(10.0, 10.0, size, size)
    looks = tiles(place, frame, 0.5)
    assert len(looks) <= 8 and looks[0].state.centre_x <= frame[1] / 2
    reach = 198 / 127 * context_side(size, size) * looks[0].zoom / 2
    for x in range(0, frame[1], 20):
        for y in range(0, frame[0], 20):
            assert any(abs(x - at.state.centre_x) <= reach and abs(y - at.state.centre_y) <= reach for at in looks)


def test_a_find_is_believed_after_a_second_look() -> None:
    recovery = lost_after()
    seen = moved(START, 40)
    assert recovery.searched([0.2, 0.8], [START, seen], [None, None]) == 1
    near, _ = recovery.looks(START)
    assert near.state == seen and near.zoom == 1 and not near.is_free
    assert recovery.searched([0.2, 0.1], [seen, START], [None, None]) == 0
    assert len(recovery.looks(seen)) == 2, "the second look did not agree"
    recovery.searched([0.2, 0.8], [START, seen], [None, None])
    assert recovery.searched([0.7, 0.9], [seen, START], [None, None]) == 0 and not recovery.is_lost
    assert recovery.looks(seen)[0].state == seen


def test_what_is_found_too_far_away_to_be_it_is_a_rival_for_a_while() -> None:
    recovery = lost_after(speed=1.0)
    far = moved(START, 300)
    recovery.searched([0.2, 0.9], [START, far], [None, None])
    near, tile = recovery.looks(START)
    assert near.state.centre != far.centre and (far.centre_x, far.centre_y, 60, 40) in tile.avoid
    for _ in range(100):
        recovery.searched([0.0, 0.0], [START, START], [None, None])
    assert not recovery.looks(START)[1].avoid
    recovery.searched([0.2, 0.9], [START, far], [None, None])
    assert recovery.looks(START)[0].state == far, "by now it can have come there"


def test_size_is_that_before_it_was_half_hidden() -> None:
    whole = [TrackState(float(x), 50.0, 60.0, 40.0) for x in range(20)]
    hidden = [TrackState(20.0 + x, 50.0, 60.0 - 3 * x, 40.0) for x in range(10)]
    place, speed = before_loss([*whole, *hidden])
    assert (place.width, place.height) == (60, 40) and place.centre == hidden[-1].centre
    assert speed == pytest.approx((1.0, 0.0))


def test_a_rival_is_seen_several_times_followed_and_forgotten() -> None:
    rivals = Rivals()
    for step in range(3):
        assert not rivals.places()
        rivals.see((300.0 + 5 * step, 100.0), START, new=True)
    assert rivals.places() == [(310.0, 100.0, 60.0, 40.0)]
    rivals.see((330.0, 100.0), START, new=False)
    rivals.see((500.0, 300.0), START, new=False)
    assert rivals.places() == [(330.0, 100.0, 60.0, 40.0)], "while the track is unsure nothing becomes a rival"
    for _ in range(91):
        rivals.see(None, START, new=True)
    assert not rivals.places()


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_looks_like_the_object_where_it_was_last_moves_no_rival_there(is_lost: bool) -> None:
    recovery, beside = Recovery(START, FRAME, 0.5), (START.centre_x + 50.0, START.centre_y)
    for _ in range(3):
        recovery.followed(0.9, START, beside)
    doubted, back = moved(START, 60), (START.centre_x + 20.0, START.centre_y)
    for _ in range(PATIENCE if is_lost else PATIENCE - 1):
        recovery.followed(0.1, doubted, back)
    if is_lost:
        recovery.searched([0.1, 0.1], [doubted, doubted], [back, back])
    assert recovery.is_lost == is_lost
    assert recovery.rivals.places() == [(*beside, START.width, START.height)]
    elsewhere = (START.centre_x + 70.0, START.centre_y)
    if is_lost:
        recovery.searched([0.1, 0.1], [doubted, doubted], [elsewhere, None])
    else:
        recovery.followed(0.1, doubted, elsewhere)
    assert recovery.rivals.places()[0][:2] == elsewhere, "a rival may still go away"


def test_what_stands_at_the_targets_own_place_is_not_avoided() -> None:
    size = math.sqrt(60 * 40)
    near, far = (100.0 + 0.8 * size, 180.0, 60.0, 40.0), (100.0 + size, 180.0, 60.0, 40.0)
    assert apart([near, far], START) == [far]
