"""The demo corpus: fair scenes, true masks, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.demo.corpus import Corpus, write_corpus
from pipeline.demo.scenes import FPS, HEIGHT, SCENES, WIDTH, Scene, draw


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("demo"))


def test_manifest_names_videos_and_first_boxes(corpus: Corpus) -> None:
    clips = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    assert [clip["clip_id"] for clip in clips] == [scene.clip_id for scene in SCENES]
    assert max(len(clip["objects"]) for clip in clips) == 2
    truth = pq.read_table(corpus.truth).to_pylist()
    for clip in clips:
        assert (corpus.manifest.parent / clip["video_uri"]).is_file()
        for item in clip["objects"]:
            key = (clip["clip_id"], item["object_id"], 0)
            (row,) = (row for row in truth if (row["clip_id"], row["object_id"], row["frame_index"]) == key)
            rows, columns = np.nonzero(coco.decode(row["mask"]))
            x, y = columns.min(), rows.min()
            assert item["box"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]


def test_videos_hold_every_drawn_frame(corpus: Corpus) -> None:
    for scene in SCENES:
        with av.open(str(corpus.manifest.parent / "videos" / f"{scene.clip_id}.mp4")) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        assert len(frames) == scene.frames
        drawn = [frame.rgb for frame in draw(scene)]
        error = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, drawn, strict=True)]
        assert max(error) < 6, "an encoded frame is not the drawn one"
    assert corpus.frames == sum(scene.frames for scene in SCENES)


def test_the_same_bytes_every_time(corpus: Corpus, tmp_path: Path) -> None:
    again = write_corpus(tmp_path)
    for file in sorted(corpus.manifest.parent.rglob("*.*")):
        assert (again.manifest.parent / file.relative_to(corpus.manifest.parent)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.clip_id)
def test_scenes_are_fair_to_a_tracker(scene: Scene) -> None:
    """Objects stay inside, are never mostly hidden, move smoothly, and stand on ground with texture."""
    previous: dict[str, np.ndarray] = {}
    moved = dict.fromkeys((actor.object_id for actor in scene.actors), 0.0)
    for frame in draw(scene):
        assert frame.rgb.shape == (HEIGHT, WIDTH, 3) and frame.rgb.dtype == np.uint8
        ground = frame.rgb[~np.any(list(frame.masks.values()), axis=0)]
        assert ground.std(axis=0).min() > 12
        for object_id, mask in frame.masks.items():
            rows, columns = np.nonzero(mask)
            assert len(rows) > 2000
            assert rows.min() > 0 and rows.max() < HEIGHT - 1 and columns.min() > 0 and columns.max() < WIDTH - 1
            centre = np.array([columns.mean(), rows.mean()])
            step = np.linalg.norm(centre - previous.get(object_id, centre))
            assert step < 0.3 * np.sqrt(len(rows)), f"{object_id} jumps by {step:.1f} px"
            moved[object_id] += float(step)
            previous[object_id] = centre
    assert min(moved.values()) > 100
    assert scene.frames / FPS < 3
