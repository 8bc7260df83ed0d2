"""Clips: their JSON, their hash and their default id."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.clip import ID_PATTERN, Clip, Direction, ObjectStart, default_clip_id

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

frames = st.integers(0, 2**63 - 1)
coordinates = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def object_starts(draw):
    start = {
        "box": draw(st.tuples(*[coordinates] * 4)),
        "polygon": draw(st.tuples(*[coordinates] * 8)),
        "mask": {"size": [draw(st.integers(1, 9)), draw(st.integers(1, 9))], "counts": draw(texts)},
    }
    kind = draw(st.sampled_from(sorted(start)))
    init, end = draw(st.none() | frames), draw(st.none() | frames)
    return ObjectStart(draw(texts), init, end, **{kind: start[kind]})


clips = st.builds(
    Clip,
    clip_id=st.from_regex(ID_PATTERN, fullmatch=True),
    video_uri=texts,
    video_location=texts,
    start_frame=st.none() | frames,
    end_frame=st.none() | frames,
    start_s=st.none() | coordinates,
    end_s=st.none() | coordinates,
    objects=st.lists(object_starts(), min_size=1, max_size=3).map(tuple),
    keep=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | coordinates | texts, max_size=3),
)


@unhurried
@given(clips)
def test_json_round_trip(clip):
    text = clip.to_json()
    assert Clip.from_json(text) == clip
    assert Clip.from_json(text).clip_hash == clip.clip_hash
    assert "\n" not in text


CLIP = Clip(
    "007",
    "videos/a.mp4",
    "/data/videos/a.mp4",
    start_frame=10,
    end_frame=90,
    objects=(ObjectStart("0", box=(1.0, 2.0, 3.0, 4.0)), ObjectStart("1", init_frame=20, box=(1.0, 2.0, 3.0, 4.0))),
    keep={"source": "camera 3"},
)


BOX = (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([("a", 20, "forward")], None),
        ([("a", 20, "both")], (0, 21)),
        ([("a", None, "both"), ("b", 10, "both")], None),
        ([("a", None, "backward")], (0, 11)),
        ([("a", 12, "forward"), ("a", 30, "both"), ("b", 20, "forward"), ("b", 25, "backward")], (13, 31)),
    ],
)
def test_the_frames_that_are_tracked_backward(
    starts: list[tuple[str, int | None, Direction]], expected: tuple[int, int] | None
) -> None:
    objects = tuple(ObjectStart(name, init, box=BOX, direction=direction) for name, init, direction in starts)
    assert Clip("c", "v.mp4", "/v.mp4", start_frame=10, objects=objects).backward_range == expected


def test_hash_is_sha256_of_canonical_json():
    value = {
        "video_uri": "videos/a.mp4",
        "start_frame": 10,
        "end_frame": 90,
        "objects": [
            {"object_id": "0", "box": [1.0, 2.0, 3.0, 4.0]},
            {"object_id": "1", "init_frame": 20, "box": [1.0, 2.0, 3.0, 4.0]},
        ],
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert CLIP.clip_hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"video_uri": "videos/b.mp4"},
        {"start_frame": 11},
        {"end_frame": None},
        {"objects": CLIP.objects[:1]},
        {"objects": (CLIP.objects[0], dataclasses.replace(CLIP.objects[1], init_frame=21))},
        {"objects": (CLIP.objects[0], dataclasses.replace(CLIP.objects[1], object_id="2"))},
        {"objects": (CLIP.objects[0], dataclasses.replace(CLIP.objects[1], end_frame=30))},
    ],
)
def test_hash_covers_video_range_and_objects(change):
    assert dataclasses.replace(CLIP, **change).clip_hash != CLIP.clip_hash


@pytest.mark.parametrize("change", [{"clip_id": "8"}, {"keep": {}}, {"video_location": "/elsewhere/a.mp4"}])
def test_hash_leaves_out_what_does_not_change_the_result(change):
    assert dataclasses.replace(CLIP, **change).clip_hash == CLIP.clip_hash


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("s3://bucket/set/walk.mp4", "walk"),
        ("walk.2024.mp4", "walk.2024"),
        ("a/My Film (1).mkv", "MyFilm1"),
        ("a/.hidden", ".hidden"),
        ("no-suffix", "no-suffix"),
        ("видео.mp4", ""),
        ("x" * 400 + ".mp4", "x" * 150),
    ],
)
def test_default_id_begins_with_the_stem(uri, stem):
    clip_id = default_clip_id(uri)
    assert clip_id[:-13] == stem
    assert ID_PATTERN.fullmatch(clip_id)


def test_default_id_hashes_the_documented_text():
    text = '["видео.mp4",null,null,1.5,2.0]'
    assert default_clip_id("видео.mp4", None, None, 1.5, 2) == f"-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@unhurried
@given(texts, texts)
def test_default_ids_of_different_videos_differ(one, other):
    assert (default_clip_id(one) == default_clip_id(other)) == (one == other)


def test_default_ids_of_different_ranges_differ():
    ranges = [(), (0,), (None, 10), (0, 10), (None, None, 0), (None, None, 0.5), (None, None, None, 10)]
    assert len({default_clip_id("a.mp4", *ends) for ends in ranges}) == len(ranges)


@pytest.mark.parametrize(("end", "start", "count"), [(90, 10, 80), (90, None, 90), (None, 10, None)])
def test_frame_count(end, start, count):
    assert dataclasses.replace(CLIP, start_frame=start, end_frame=end).frame_count == count
