"""Boxes as they are written on a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.track.start_box import BoxError, StartBox, parse_boxes

sides = st.floats(0.5, 5000, allow_nan=False)
places = st.floats(-500, 5000, allow_nan=False)
letters = st.characters(categories=("L", "N"), include_characters="-_. =")
names = st.text(letters, min_size=1).map(str.strip).filter(bool)


def test_names_positions_and_frames() -> None:
    assert parse_boxes(["412,230,96,60", "tug=1.5, 2,3,4", "gull=80,44,30,22@1650", "gull=81,44,30,22@1700"]) == [
        StartBox("0", (412, 230, 96, 60)),
        StartBox("tug", (1.5, 2, 3, 4)),
        StartBox("gull", (80, 44, 30, 22), 1650),
        StartBox("gull", (81, 44, 30, 22), 1700),
    ]


@given(names, places, places, sides, sides, st.none() | st.integers(0, 10**9))
def test_what_is_written_is_read(name: str, x: float, y: float, w: float, h: float, frame: int | None) -> None:
    text = f"{name}={x!r},{y!r},{w!r},{h!r}" + ("" if frame is None else f"@{frame}")
    assert parse_boxes([text]) == [StartBox(name, (x, y, w, h), frame)]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["1,2,3"], r"'1,2,3': expected \[ID=\]x,y,w,h"),
        (["1,2,3,4,5"], "1,2,3,4,5"),
        (["a,b,c,d"], "expected"),
        (["1,2,nan,4"], "expected"),
        (["1,2,0,4"], "width and a height above 0, got 0 and 4"),
        (["1,2,3,-4"], "above 0"),
        (["=1,2,3,4"], "its name before the = is empty"),
        (["1,2,3,4@"], "frame number"),
        (["1,2,3,4@-3"], "frame number"),
        (["1,2,3,4@x"], "'x'"),
        (["a=1,2,3,4", "a=5,2,3,4"], "'a' has two boxes on the first frame"),
        (["a=1,2,3,4@7", "a=5,2,3,4@7"], "'a' has two boxes on frame 7"),
        (["1=1,2,3,4", "5,2,3,4"], "'1' has two boxes"),
    ],
)
def test_a_bad_box_is_named(texts: list[str], said: str) -> None:
    with pytest.raises(BoxError, match=said):
        parse_boxes(texts)
