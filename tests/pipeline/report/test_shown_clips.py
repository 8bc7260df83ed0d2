"""The sample of clips in a report, and what is shown of a clip."""

from __future__ import annotations

import base64
import random

import cv2
import numpy as np
import pytest

from pipeline.output.schema import MaskRow
from pipeline.report.sample import Sampler
from pipeline.report.sheet import show_clip
from pipeline.report.tracks import BINS, CURVES, read_frames, read_tracks
from tests.pipeline.output_rows import rectangle
from tests.pipeline.report.written import HEIGHT, WIDTH, Output, ended, tracked
from tests.pipeline.videos import make_video


def test_the_sample_is_the_same_in_any_order_and_has_some_that_failed() -> None:
    rows = [{"clip_id": f"c{i:04d}", "status": "ok" if i % 10 else "failed"} for i in range(1000)]
    samples = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        sampler = Sampler(24)
        for row in rows:
            sampler.add(row)
        samples.append(sampler.sample())
    assert samples[0] == samples[1] == samples[2]
    assert samples[0].total == 1000
    chosen = samples[0].clips
    assert [row["status"] for row in chosen].count("failed") == 6
    assert [row["clip_id"] for row in chosen] == sorted({row["clip_id"] for row in chosen})
    assert len(chosen) == 24


@pytest.mark.parametrize(("good", "bad", "size", "want"), [(3, 0, 8, 3), (2, 9, 8, 8), (0, 4, 8, 4), (5, 5, 0, 0)])
def test_a_small_output_is_shown_whole(good: int, bad: int, size: int, want: int) -> None:
    sampler = Sampler(size)
    for i in range(good + bad):
        sampler.add({"clip_id": f"c{i}", "status": "ok" if i < good else "partial"})
    assert len(sampler.sample().clips) == want
    assert sampler.sample().total == good + bad


def test_curves_are_means_of_bounded_number_that_keep_the_least_score(output: Output) -> None:
    frames = 5000
    rows = tracked("x", range(frames), score=6.0) + tracked("y", range(4000, 4010))
    rows[2500] = MaskRow("x", 2500, 100.0, 0.001, 0.1, "lost", (10, 5, 20, 8), *rectangle(10, 5, 20, 8, HEIGHT, WIDTH))
    output.add("s1", [ended("a", frames=frames)], {"a": rows})
    tracks = read_tracks(output.uri, output.row("a"))
    x, y = tracks.curves
    assert tracks.object_ids == ["x", "y"]
    assert len(x.frame) == BINS and (x.rows, y.rows) == (frames, 10)
    assert x.least_score == pytest.approx(0.001)
    np.testing.assert_allclose(np.average(x.score, weights=x.rows_in_bin), np.mean([row.score for row in rows[:5000]]))
    assert set(x.area) == {160}
    assert (x.lost_rows, y.lost_rows) == (1, 0)
    assert x.mean_presence == pytest.approx((0.75 * (frames - 1) + 0.1) / frames)
    assert y.frame.min() >= 4000 and y.frame.max() < 4010
    assert tracks.frames[0] == 0 and len(tracks.frames) == BINS


def test_frames_are_read_with_their_objects_alone(output: Output) -> None:
    rows = {"a": tracked("x", range(10)) + tracked("y", range(5, 10)), "b": tracked("z", range(10))}
    output.add("s1", [ended("a"), ended("b")], rows)
    found = read_frames(output.uri, output.row("a"), [3, 7, 50])
    assert {frame: [item.object_id for item in one.objects] for frame, one in found.items()} == {
        3: ["x"],
        7: ["x", "y"],
    }
    assert found[7].pts_s == pytest.approx(7 / 25)


def test_of_very_many_objects_those_that_have_a_colour_get_a_curve(output: Output) -> None:
    rows = [row for i in range(CURVES + 3) for row in tracked(f"o{i:03d}", range(2))]
    output.add("s1", [ended("a", frames=2)], {"a": rows})
    shown = show_clip(output.uri, output.row("a"), [])
    assert (len(shown.objects), shown.more_objects) == (CURVES, 3)


def test_a_clip_shows_its_frames_with_masks_in_the_objects_colours(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 30, width=WIDTH, height=HEIGHT)
    whole = rectangle(0, 0, WIDTH, HEIGHT, HEIGHT, WIDTH)
    output.add("s1", [ended("a", frames=30)], {"a": tracked("x", range(30), result=whole)})
    shown = show_clip(output.uri, output.row("a"), [str(output.folder / "elsewhere"), output.uri])
    assert shown.notes == []
    assert [frame.frame_index for frame in shown.frames] == [0, 10, 19, 29]
    assert shown.frames[1].pts_s == pytest.approx(10 / 25)
    data = base64.b64decode(shown.frames[1].data_uri.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape == (HEIGHT, WIDTH, 3) == (shown.frames[1].height, shown.frames[1].width, 3)
    assert image[30, 4, 0] > 80, "orange lies over the dark left side of the picture"
    assert shown.curves.startswith("<svg viewBox=") and "var(--object-0)" in shown.curves


def test_large_frames_are_made_small_and_keep_their_shape(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 2, width=720, height=1280)
    rows = tracked("x", range(2), result=rectangle(200, 300, 300, 400, 1280, 720))
    output.add("s1", [ended("a", frames=2, width=720, height=1280)], {"a": rows})
    shown = show_clip(output.uri, output.row("a"), [output.uri])
    assert {(frame.width, frame.height) for frame in shown.frames} == {(152, 270)}
    assert sum(len(frame.data_uri) for frame in shown.frames) < 60_000


def test_what_cannot_be_shown_says_why(output: Output) -> None:
    make_video(output.folder / "videos" / "other.mp4", 30, width=128, height=96)
    (output.folder / "videos" / "text.mp4").write_text("no video")
    clips = [ended(name) for name in ("gone", "other", "text")]
    output.add("s1", clips, {row["clip_id"]: tracked("x", range(10)) for row in clips})
    output.add("s2", [ended("late", "failed", error_stage="init", video_uri="videos/other.mp4", end_frame=None)])
    output.add("s3", [ended("absent", "failed", error_stage="fetch")])
    shown = {
        name: show_clip(output.uri, output.row(name), [output.uri])
        for name in ("gone", "other", "text", "late", "absent")
    }
    notes = {name: " ".join(one.notes) for name, one in shown.items()}
    assert "gone.mp4: No such file" in notes["gone"]
    assert "another video than the one that was tracked" in notes["other"]
    assert "text.mp4 is not a video" in notes["text"]
    assert all(shown[name].curves and not shown[name].frames for name in ("gone", "other", "text"))
    assert [frame.frame_index for frame in shown["late"].frames] == [0], "the first frame of a clip that failed later"
    assert shown["absent"].frames == [] and notes["absent"] == ""


def test_the_video_of_a_clip_that_killed_its_decoder_is_left_alone(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 10, width=WIDTH, height=HEIGHT)
    output.add("s1", [ended("a", "failed", error_stage="decode", error_type="WorkerCrashed")])
    assert show_clip(output.uri, output.row("a"), [output.uri]).frames == []


def test_rows_that_cannot_be_read_do_not_hide_the_frames(output: Output) -> None:
    make_video(output.folder / "videos" / "a.mp4", 10, width=WIDTH, height=HEIGHT)
    output.add("s1", [ended("a")], {"a": tracked("x", range(10))})
    next((output.folder / "masks").iterdir()).write_bytes(b"no Parquet")
    shown = show_clip(output.uri, output.row("a"), [output.uri])
    assert len(shown.frames) == 4 and "rows cannot be read" in shown.notes[0]
