"""Where tracks start: boxes, polygons and masks, and what is said of a list that is none of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from model.masks.init_box import box_from_polygon
from model.track.start_box import StartBox
from model.track.starts import start_boxes

HEIGHT, WIDTH = 60, 80
POLYGON = (10, 8, 30, 10, 28, 26, 9, 24)
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[12:20, 30:36] = True
MASK[15, 36] = True
RLE = coco.encode(np.asfortranarray(MASK, np.uint8))
AROUND = (30, 12, 7, 8)


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        (np.array([1.5, 2, 3, 4]), (1.5, 2, 3, 4)),
        (POLYGON, box_from_polygon(POLYGON)),
        ([(10, 8), (30, 10), (28, 26), (9, 24)], box_from_polygon(POLYGON)),
        (MASK, AROUND),
        (MASK.astype(np.uint8) * 255, AROUND),
        (RLE, AROUND),
        ({"size": [HEIGHT, WIDTH], "counts": RLE["counts"].decode()}, AROUND),
    ],
)
def test_a_start_is_a_box_a_polygon_or_a_mask(region: Any, box: tuple[float, ...]) -> None:
    (start,) = start_boxes({"tug": region}, {"tug": 5}, HEIGHT, WIDTH)
    assert (start.object_id, start.box, start.frame) == ("tug", pytest.approx(box), 5)


def test_start_boxes_are_made_of_polygons_and_masks() -> None:
    starts = [
        StartBox.from_polygon("a", POLYGON, 3, 9, "both"),
        StartBox.from_mask("b", MASK, np.int64(4)),  # type: ignore[arg-type]
        StartBox.from_mask("b", RLE, 7, direction="backward"),
    ]
    checked = start_boxes(starts, {}, HEIGHT, WIDTH)
    assert [(s.object_id, s.frame, s.end_frame, s.direction) for s in checked] == [
        ("a", 3, 9, "both"), ("b", 4, None, "forward"), ("b", 7, None, "backward")
    ]  # fmt: skip
    assert [checked[0].box, checked[1].box, checked[2].box] == [box_from_polygon(POLYGON), AROUND, AROUND]


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([(1, 2, 3, 4)], r"boxes\[0\]: expected a StartBox, got tuple \(1, 2, 3, 4\); give boxes by object id, or"),
        ((1, 2, 3, 4), r"boxes\[0\]: expected a StartBox, got int 1"),
        ([StartBox("a", (1, 2, 3, 4)), None], r"boxes\[1\]: expected a StartBox, got NoneType None"),
        (7, "boxes: expected boxes by object id, or a list of StartBox, got int 7"),
        ({"a": (1, 2, 3)}, r"object 'a': expected a box x, y, w, h, a polygon .* got tuple \(1, 2, 3\)"),
        ({"a": [[1, 2], [3]]}, r"object 'a': expected a box .* got list \[\[1, 2\], \[3\]\]"),
        ({"a": "1,2,3,4"}, "object 'a': expected a box .* got str '1,2,3,4'"),
        ({"a": np.zeros((HEIGHT, WIDTH, 3), np.uint8)}, r"object 'a': expected a box .* got uint8 \[60, 80, 3\]"),
        ({"a": (1, 2, "w", 4)}, r"object 'a': expected a box of four numbers x, y, w, h, got tuple \(1, 2, 'w', 4\)"),
        ({"a": (1, 2, 0, 4)}, "object 'a': the init box .* has no area"),
        ({"a": np.zeros((HEIGHT, WIDTH), bool)}, "object 'a': the init mask is empty"),
        ({"a": MASK.T}, "object 'a': its mask is 60x80, but the frame is 80x60"),
        ({"a": {"counts": "x"}}, r"object 'a': expected a COCO RLE with size \[H, W\] and counts"),
        ({"a": {"size": [HEIGHT, WIDTH], "counts": "zz"}}, "object 'a': .*run lengths"),
        ({"a": (1, 1, 1, 1, 1, 1, 1, 1)}, "object 'a': the polygon .* has no area"),
        ([StartBox("a", (1, 2, 3, 4), "5")], "object 'a': expected the number of a frame as frame, got str '5'"),
        ([StartBox("a", (1, 2, 3, 4), 5, 6.5)], "object 'a': expected the number of a frame as end_frame, got float"),
    ],
)  # fmt: skip
def test_what_cannot_start_a_track_is_said_in_one_sentence(boxes: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        start_boxes(boxes, {}, HEIGHT, WIDTH)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_init_frames_are_for_boxes_by_object_id() -> None:
    with pytest.raises(ValueError, match="init_frames goes with boxes by object id"):
        start_boxes([StartBox("a", (1, 2, 3, 4))], {"a": 3}, HEIGHT, WIDTH)
