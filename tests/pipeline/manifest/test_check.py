"""Checks of one manifest row: what is refused, and which column is named."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.clip import Clip, ObjectStart
from pipeline.manifest.check import Rules, check_row

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RULES = Rules("/data/set", stride=2, keep=("source",))
BOX = [1, 2, 30.5, 40]
GOOD = {"video_uri": "a.mp4", "clip_id": "007", "start_frame": 10, "end_frame": 90, "objects": [{"box": BOX}]}


def rle(mask):
    value = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(value["size"]), "counts": value["counts"].decode()}


SQUARE = np.zeros((20, 30), np.uint8)
SQUARE[5:9, 7:12] = 1


def check(**changes):
    return check_row({**GOOD, **changes}, RULES)


def objects(*items):
    return check(objects=list(items))


def test_a_good_row_is_a_clip():
    start = ObjectStart("0", box=(1.0, 2.0, 30.5, 40.0))
    assert check(source="x") == Clip("007", "a.mp4", "/data/set/a.mp4", 10, 90, objects=(start,), keep={"source": "x"})


def test_absent_and_null_are_the_same():
    full = {**GOOD, "start_s": None, "end_s": None, "source": None}
    full["objects"] = [dict.fromkeys(("object_id", "init_frame", "end_frame", "polygon", "mask")) | {"box": BOX}]
    assert check_row(full, RULES) == check_row(GOOD, RULES)


def test_whole_and_other_numbers_are_one_clip():
    one = check(start_frame=None, end_frame=None, start_s=1, end_s=2)
    other = check(start_frame=None, end_frame=None, start_s=1.0, end_s=2.0, objects=[{"box": list(map(float, BOX))}])
    assert isinstance(one, Clip)
    assert one == other
    assert one.clip_hash == other.clip_hash


def test_default_clip_id_is_used_where_there_is_none():
    clip = check(clip_id=None)
    assert isinstance(clip, Clip)
    assert clip.clip_id.startswith("a-")


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("sub/a.mp4", "/data/set/sub/a.mp4"),
        ("../a.mp4", "/data/a.mp4"),
        ("/videos/a.mp4", "/videos/a.mp4"),
        ("file:///videos/a.mp4", "/videos/a.mp4"),
        ("s3://bucket/a.mp4", "s3://bucket/a.mp4"),
    ],
)
def test_location(uri, location):
    clip = check(video_uri=uri)
    assert isinstance(clip, Clip)
    assert (clip.video_uri, clip.video_location) == (uri, location)


SECONDS = {"start_frame": None, "end_frame": None}
BAD_ROWS = {
    "no video": ({"video_uri": None}, "video_uri"),
    "video of another type": ({"video_uri": 7}, "video_uri"),
    "empty video": ({"video_uri": ""}, "video_uri"),
    "http": ({"video_uri": "http://host/a.mp4"}, "video_uri"),
    "https of a host not named": ({"video_uri": "https://host/a.mp4"}, "video_uri"),
    "ftp": ({"video_uri": "ftp://host/a.mp4"}, "video_uri"),
    "NUL": ({"video_uri": "a\0.mp4"}, "video_uri"),
    "no Unicode": ({"video_uri": "a\udcff.mp4"}, "video_uri"),
    "id a number": ({"clip_id": 7}, "clip_id"),
    "id empty": ({"clip_id": ""}, "clip_id"),
    "id with a slash": ({"clip_id": "../a"}, "clip_id"),
    "id with a line end": ({"clip_id": "a\n"}, "clip_id"),
    "id too long": ({"clip_id": "a" * 201}, "clip_id"),
    "frame a string": ({"start_frame": "10"}, "start_frame"),
    "frame a float": ({"end_frame": 90.5}, "end_frame"),
    "frame true": ({"start_frame": True}, "start_frame"),
    "frame NaN": ({"start_frame": math.nan}, "start_frame"),
    "frame negative": ({"start_frame": -1}, "start_frame"),
    "frame beyond int64": ({"end_frame": 2**63}, "end_frame"),
    "range empty": ({"end_frame": 10}, "end_frame"),
    "range reversed": ({"end_frame": 9}, "end_frame"),
    "range empty from 0": ({"start_frame": None, "end_frame": 0}, "end_frame"),
    "seconds NaN": ({**SECONDS, "start_s": math.nan}, "start_s"),
    "seconds infinite": ({**SECONDS, "end_s": math.inf}, "end_s"),
    "seconds a string": ({**SECONDS, "start_s": "1"}, "start_s"),
    "seconds negative": ({**SECONDS, "start_s": -0.5}, "start_s"),
    "seconds empty": ({**SECONDS, "start_s": 1.0, "end_s": 1.0}, "end_s"),
    "seconds reversed": ({**SECONDS, "start_s": 2.0, "end_s": 1.0}, "end_s"),
    "seconds end at 0": ({**SECONDS, "end_s": 0.0}, "end_s"),
    "both starts": ({"start_s": 1.0}, "start_s"),
    "rate zero": ({"fps": 0}, "fps"),
    "rate a string": ({"fps": "25"}, "fps"),
    "frames and seconds": ({"start_frame": None, "start_s": 1.0}, "start_s"),
    "no objects": ({"objects": None}, "objects"),
    "objects empty": ({"objects": []}, "objects"),
    "objects a struct": ({"objects": {"box": BOX}}, "objects"),
    "object a list": ({"objects": [BOX]}, "objects[0]"),
}


@pytest.mark.parametrize(("changes", "column"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_name_the_column(changes, column):
    problems = check(**changes)
    assert isinstance(problems, list)
    assert [problem.column for problem in problems] == [column]


MASK = rle(SQUARE)
BAD_OBJECTS = {
    "no start": ({}, ""),
    "box and polygon": ({"box": BOX, "polygon": [0, 0, 1, 0, 1, 1, 0, 1]}, ""),
    "box and mask": ({"box": BOX, "mask": MASK}, ""),
    "id a number": ({"object_id": 1, "box": BOX}, ".object_id"),
    "id empty": ({"object_id": "", "box": BOX}, ".object_id"),
    "box of three": ({"box": BOX[:3]}, ".box"),
    "box a string": ({"box": "1,2,3,4"}, ".box"),
    "box a struct": ({"box": {"x": 1, "y": 2, "w": 3, "h": 4}}, ".box"),
    "box with null": ({"box": [None, 2, 3, 4]}, ".box.x"),
    "box with text": ({"box": [1, "2", 3, 4]}, ".box.y"),
    "box with true": ({"box": [1, 2, True, 4]}, ".box.w"),
    "box NaN": ({"box": [math.nan, 2, 3, 4]}, ".box.x"),
    "box infinite": ({"box": [1, -math.inf, 3, 4]}, ".box.y"),
    "box beyond floats": ({"box": [1, 10**400, 3, 4]}, ".box.y"),
    "no width": ({"box": [1, 2, 0, 4]}, ".box.w"),
    "negative height": ({"box": [1, 2, 3, -4]}, ".box.h"),
    "polygon of seven": ({"polygon": [0, 0, 1, 0, 1, 1, 0]}, ".polygon"),
    "polygon NaN": ({"polygon": [0, 0, 1, 0, 1, 1, 0, math.nan]}, ".polygon[7]"),
    "polygon a point": ({"polygon": [5, 5] * 4}, ".polygon"),
    "polygon a line": ({"polygon": [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.7, 0.7]}, ".polygon"),
    "mask a string": ({"mask": MASK["counts"]}, ".mask"),
    "mask without size": ({"mask": {"counts": MASK["counts"]}}, ".mask.size"),
    "mask of size 0": ({"mask": {**MASK, "size": [0, 30]}}, ".mask.size"),
    "mask of floats": ({"mask": {**MASK, "size": [20.5, 30.0]}}, ".mask.size"),
    "mask too large": ({"mask": {**MASK, "size": [1, 65536]}}, ".mask.size"),
    "mask of runs": ({"mask": {**MASK, "counts": [145, 4, 451]}}, ".mask.counts"),
    "mask of another size": ({"mask": {**MASK, "size": [21, 30]}}, ".mask.counts"),
    "mask cut": ({"mask": {**MASK, "counts": MASK["counts"][:-1]}}, ".mask.counts"),
    "mask of no code": ({"mask": {**MASK, "counts": "\x7fé"}}, ".mask.counts"),
    "mask empty": ({"mask": {**MASK, "counts": ""}}, ".mask.counts"),
    "mask without a pixel": ({"mask": rle(SQUARE * 0)}, ".mask.counts"),
    "init a float": ({"init_frame": 10.5, "box": BOX}, ".init_frame"),
    "init negative": ({"init_frame": -2, "box": BOX}, ".init_frame"),
    "init before the start": ({"init_frame": 8, "box": BOX}, ".init_frame"),
    "init at the end": ({"init_frame": 90, "box": BOX}, ".init_frame"),
    "init past the end": ({"init_frame": 92, "box": BOX}, ".init_frame"),
    "init off the stride": ({"init_frame": 13, "box": BOX}, ".init_frame"),
    "direction unknown": ({"direction": "backwards", "box": BOX}, ".direction"),
    "direction a list": ({"direction": ["both"], "box": BOX}, ".direction"),
    "category a number": ({"category": 3, "box": BOX}, ".category"),
    "end at init": ({"init_frame": 20, "end_frame": 20, "box": BOX}, ".end_frame"),
    "end at the clip's start": ({"end_frame": 10, "box": BOX}, ".end_frame"),
    "end a string": ({"end_frame": "30", "box": BOX}, ".end_frame"),
}


@pytest.mark.parametrize(("item", "column"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
def test_bad_objects_name_the_object_and_the_column(item, column):
    problems = objects({"box": BOX}, item)
    assert isinstance(problems, list)
    assert [problem.column for problem in problems] == [f"objects[1]{column}"]


def test_every_problem_of_a_row_is_found():
    problems = check(video_uri=None, clip_id=7, objects=[{"box": [1, 2, -3, -4]}, {}])
    assert isinstance(problems, list)
    columns = [problem.column for problem in problems]
    assert columns == ["video_uri", "clip_id", "objects[0].box.w", "objects[0].box.h", "objects[1]"]


@pytest.mark.parametrize(
    "items",
    [
        ({"object_id": "a", "box": BOX}, {"object_id": "a", "box": BOX}),
        ({"object_id": "a", "init_frame": 20, "box": BOX}, {"object_id": "a", "init_frame": 20, "box": BOX}),
        ({"object_id": "a", "box": BOX}, {"object_id": "a", "init_frame": 10, "box": BOX}),
        ({"object_id": "1", "box": BOX}, {"box": BOX}),
        ({"object_id": "1", "box": BOX}, {"init_frame": 20, "box": BOX}),
    ],
    ids=["default inits", "same init", "default is the start", "default id", "default id later"],
)
def test_an_id_twice_on_one_frame_is_refused(items):
    problems = objects(*items)
    assert isinstance(problems, list)
    assert [problem.column for problem in problems] == ["objects[1].object_id"]


def test_an_object_has_one_category():
    boat = {"object_id": "a", "category": "boat", "box": BOX}
    clip = objects(boat, {"object_id": "a", "init_frame": 20, "box": BOX}, {"box": BOX})
    assert clip.categories == {"a": "boat", "2": None}
    assert clip.clip_hash != objects(*[{**item.to_dict(), "category": "gull"} for item in clip.objects]).clip_hash
    assert Clip.from_json(clip.to_json()) == clip
    problems = objects(boat, {**boat, "category": "gull", "init_frame": 20})
    assert [problem.column for problem in problems] == ["objects[1].category"]


def test_directions_count_as_a_change_and_forward_as_none():
    plain = objects({"box": BOX})
    assert objects({"direction": "forward", "box": BOX}).clip_hash == plain.clip_hash
    changed = [objects({"direction": direction, "box": BOX}) for direction in ("backward", "both")]
    assert [clip.objects[0].direction for clip in changed] == ["backward", "both"]
    assert len({clip.clip_hash for clip in (plain, *changed)}) == 3
    assert all(Clip.from_json(clip.to_json()) == clip for clip in changed)
    (problem,) = objects({"direction": "up", "box": BOX})
    assert (problem.expected, problem.got) == ("forward, backward or both", "'up'")


def test_key_frames_are_ordered_by_their_init_frames():
    def start(name, init):
        return {"object_id": name, "init_frame": init, "box": BOX}

    clip = objects(start("a", 30), start("b", 12), {"object_id": "a", "box": BOX}, start("a", 20))
    assert isinstance(clip, Clip)
    found = [(item.object_id, item.init_frame) for item in clip.objects]
    assert found == [("a", None), ("a", 20), ("a", 30), ("b", 12)]


def test_default_object_ids_are_positions():
    clip = objects({"box": BOX}, {"object_id": "007", "box": BOX}, {"box": BOX})
    assert isinstance(clip, Clip)
    assert [item.object_id for item in clip.objects] == ["0", "007", "2"]


def test_the_stride_counts_from_the_start_frame():
    odd = [{"init_frame": 13, "box": BOX}]
    assert isinstance(check(start_frame=11, objects=odd), Clip)
    assert isinstance(check(start_frame=None, objects=odd), list)


def test_a_range_in_seconds_leaves_init_frames_to_the_video():
    seconds = {**SECONDS, "start_s": 5.0, "end_s": 9.0}
    assert isinstance(check(**seconds, objects=[{"init_frame": 131, "box": BOX}]), Clip)
    assert isinstance(check(**seconds, objects=[{"init_frame": -1, "box": BOX}]), list)


def test_a_box_outside_any_frame_is_no_problem_of_the_manifest():
    assert isinstance(objects({"box": [-1e6, 1e6, 5, 5]}), Clip)


def test_secrets_in_a_uri_are_not_shown():
    problems = check(video_uri="https://host/a.mp4?X-Amz-Signature=c0ffee")
    assert isinstance(problems, list)
    assert "c0ffee" not in str(problems[0])


@unhurried
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_masks_that_coco_encodes_are_accepted(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    mask[0, 0] = True
    assert isinstance(objects({"mask": rle(mask)}), Clip)


@unhurried
@given(st.tuples(*[st.floats(-1e4, 1e4)] * 2), st.tuples(*[st.floats(0.5, 1e3)] * 2), st.floats(0, math.pi))
def test_rotated_boxes_are_accepted(centre, size, angle):
    (x, y), (w, h) = centre, size
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(-w, -h), (w, -h), (w, h), (-w, h)]
    polygon = [value for u, v in corners for value in (x + u * cos - v * sin, y + u * sin + v * cos)]
    assert isinstance(objects({"polygon": polygon}), Clip)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["box", "mask", "size"]), inner),
    max_leaves=8,
)


@unhurried
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*GOOD, "start_s", "end_s"], json_values)))
def test_no_row_raises(row):
    result = check_row(row, RULES)
    assert isinstance(result, Clip) or result
