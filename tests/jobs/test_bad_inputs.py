"""A run over hundreds of bad inputs with some good ones among them: every clip ends as one row, the job well."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions
from pipeline.storage.uris import SCHEMES
from tests.conftest import S3Store
from tests.pipeline.decode.hostile_files import (
    LISTS,
    Listener,
    change_bytes,
    claim_ten_times_the_frames,
    cut_at_tenths,
    move_data,
)
from tests.pipeline.videos import make_video

FRAMES, WIDTH, HEIGHT = 8, 96, 64
BASES = {
    "b.mp4": {"b_frames": 2},
    "b.mkv": {"b_frames": 2},
    "b.ts": {"b_frames": 2},
    "m.avi": {"codec": "mpeg4"},
    "p.mp4": {"codec": "mpeg4"},
}
VARIANTS = 40
OBJECT = {"object_id": "../../../escape", "box": [10, 10, 20, 20]}


class Corpus:
    """Collects the rows of a manifest, with what is known of how each must end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[dict[str, Any]] = []
        self.ends: dict[str, tuple[Any, ...]] = {}

    def add(self, name: str, video: str | Path, *end: str | None, **more: Any) -> None:
        """A clip; `end` is its status, stage and type of error where they are certain."""
        self.clips.append({"clip_id": name, "video_uri": str(video), "objects": [OBJECT], "../../note": name, **more})
        if end:
            self.ends[name] = end

    def file(self, name: str, content: bytes | str = b"") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, SiamMask(SiamMaskConfig("resnet18")), metadata={"name": "random", "tracker": {"preset": "vot"}})
    return str(path)


def _damaged(corpus: Corpus) -> None:
    for name, options in BASES.items():
        base = make_video(corpus.folder / name, FRAMES, width=WIDTH, height=HEIGHT, group=4, **options)
        for path in [*cut_at_tenths(base, corpus.folder), *change_bytes(base, corpus.folder, VARIANTS)]:
            corpus.add(path.name, path)


def _no_videos(corpus: Corpus, port: int) -> None:
    for name in ("text.mp4", "text.mkv", "text.y4m"):
        corpus.add(name, corpus.file(name, "this is no video\n" * 50), "failed", "open", "InvalidData")
    for name in ("zero.mp4", "zero.avi", "zero.ts"):
        corpus.add(name, corpus.file(name), "failed", "open", "EmptyFile")
    for kind, text in LISTS.items():
        for suffix in ("mp4", "m3u8"):
            path = corpus.file(f"{kind}.{suffix}", text.format(url=f"http://127.0.0.1:{port}/a.mp4"))
            corpus.add(path.name, path, "failed", "open", "InvalidData")
    outer = make_video(corpus.folder / "outer.mov", FRAMES, width=WIDTH, height=HEIGHT)
    shutil.copy(outer, corpus.folder / "other.mov")
    move_data(outer, corpus.folder / "other.mov")
    corpus.add("outer.mov", outer, "failed")
    with av.open(str(corpus.folder / "sound.mkv"), "w") as container:
        sound: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
    corpus.add("sound.mkv", corpus.folder / "sound.mkv", "failed", "open", "NoVideoStream")


def _absent(corpus: Corpus, store: S3Store) -> None:
    for i in range(5):
        corpus.add(f"absent-{i}", f"absent-{i}.mp4", "failed", "fetch", "NotFound")
        corpus.add(f"absent-s3-{i}", store.uri(f"absent-{i}.mp4"), "failed", "fetch", "NotFound")
    corpus.add("no-bucket", "s3://no-such-bucket/a.mp4", "failed", "fetch", "NotFound")
    for i, uri in enumerate(["concat:a.mp4|b.mp4", "pipe:0", "fd:", "subfile,,start,0,end,9,,:b.mp4", "data:,x", "-i"]):
        corpus.add(f"protocol-{i}", uri, "failed", "fetch", "NotFound")
    links = {"dangling": "absent.mp4", "loop": "loop", "device": "/dev/zero"}
    for name, target in links.items():
        (corpus.folder / name).symlink_to(target)
    os.mkfifo(corpus.folder / "pipe")
    for name, kind in {
        "dangling": "NotFound",
        "loop": "FetchError",
        "device": "NotAFile",
        "pipe": "NotAFile",
        ".": "NotAFile",
    }.items():
        corpus.add(f"link-{name}", corpus.folder / name, "failed", "fetch", kind)


def _bad_rows(corpus: Corpus) -> None:
    video = corpus.folder / "b.mp4"
    for i, box in enumerate([[500, 5, 9, 9], [5, 500, 9, 9], [-50, 5, 9, 9], [5, -50, 9, 9], [1e300, 5, 9, 9]]):
        corpus.add(f"outside-{i}", video, "failed", "init", "ObjectOutsideFrame", objects=[{"box": box}])
    for i, asked in enumerate([{"start_frame": FRAMES}, {"start_s": 99.5}, {"start_frame": 2**62}, {"start_s": 1e300}]):
        corpus.add(f"beyond-{i}", video, "failed", "open", "RangeOutsideVideo", **asked)
    late = [{**OBJECT, "init_frame": 7_000}]
    corpus.add("late-object", video, "failed", "init", "InitFrameOutsideClip", objects=late)


def _too_large(corpus: Corpus) -> None:
    for side, kind in ((12_000, "FrameTooLarge"), (16_384, "InvalidData")):
        header = f"YUV4MPEG2 W{side} H{side} F25:1 C420jpeg\nFRAME\n".encode()
        path = corpus.file(f"huge-{side}.y4m", header)
        os.truncate(path, len(header) + side * side * 3 // 2)
        corpus.add(path.name, path, "failed", "open", kind)
    path = corpus.file("long.mp4", b"\0")
    os.truncate(path, 2 << 30)
    corpus.add(path.name, path, "failed", "fetch", "FileTooLarge")


def _good(corpus: Corpus, store: S3Store) -> None:
    from pipeline import storage

    storage.upload_file(corpus.folder / "b.mp4", store.uri("bad-inputs/b.mp4"))
    (corpus.folder / "link.mp4").symlink_to("b.mp4")
    claims = [shutil.copy(corpus.folder / name, corpus.folder / f"claims-{name}") for name in ("b.mp4", "m.avi")]
    for path in claims:
        claim_ten_times_the_frames(Path(path))
    turned = [
        make_video(corpus.folder / f"turned-{angle}.mp4", FRAMES, width=WIDTH, height=HEIGHT, rotation=angle)
        for angle in (90, 180, 270)
    ]
    times = [0, 1, 5, 6, 7, 20, 22, 23]
    varying = make_video(corpus.folder / "varying.mp4", FRAMES, width=WIDTH, height=HEIGHT, times=times)
    plain = [corpus.folder / name for name in BASES]
    for video in [*plain, *claims, *turned, varying, corpus.folder / "link.mp4", store.uri("bad-inputs/b.mp4")]:
        corpus.add(f"good-{str(video).rsplit('/', 1)[-1]}-{len(corpus.clips)}", video, "ok", None, None)
    corpus.add("..", "b.mp4", "ok", None, None)


def _tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_hundred_bad_inputs(
    ray_local: None, s3_store: S3Store, weights: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    corpus, listener = Corpus(tmp_path / "deep" / "corpus"), Listener()
    corpus.folder.mkdir(parents=True)
    _damaged(corpus)
    _no_videos(corpus, listener.port)
    _absent(corpus, s3_store)
    _bad_rows(corpus)
    _too_large(corpus)
    bad = len(corpus.clips)
    _good(corpus, s3_store)
    corpus.clips.sort(key=lambda clip: str(clip["clip_id"])[::-1])  # good and bad ones mixed
    manifest = corpus.file("m.jsonl", "".join(json.dumps(clip) + "\n" for clip in corpus.clips))
    output = tmp_path / "deep" / "out"
    before = _tree(tmp_path)

    began = time.monotonic()
    options = SegmentOptions(
        str(manifest),
        str(output),
        weights=weights,
        max_failed=1.0,
        max_video_bytes=1 << 30,
        keep_columns=("../../note",),
    )
    assert run(options) == 0
    took = time.monotonic() - began

    rows = {row["clip_id"]: row for row in pq.read_table(output / "clips").to_pylist()}
    counts = Counter((row["status"], row["error_stage"] or "", row["error_type"] or "") for row in rows.values())
    say(f"{bad} bad inputs and {len(rows) - bad} good ones in {took:.0f} s:")
    for (status, stage, kind), count in sorted(counts.items()):
        say(f"{count:6d} {status:8s} {stage:8s} {kind}")
    assert bad >= 300
    assert pq.read_table(output / "clips").num_rows == len(rows) == len(corpus.clips)
    assert rows.keys() == {clip["clip_id"] for clip in corpus.clips}
    for name, end in corpus.ends.items():
        row = rows[name]
        assert (row["status"], row["error_stage"], row["error_type"])[: len(end)] == end, row
        if row["status"] == "failed":
            assert row["error_message"]
    for row in rows.values():
        assert row["error_stage"] not in ("actor", "track", "write"), row
        assert row["../../note"] == row["clip_id"]
        if row["clip_id"].startswith("good-"):
            assert (row["frames"], row["corrupt_frames"]) == (FRAMES, 0), row
    masks: dict[str, list[int]] = {}
    for mask in pq.read_table(output / "masks", columns=["clip_id", "frame_index"]).to_pylist():
        masks.setdefault(mask["clip_id"], []).append(mask["frame_index"])
    assert masks.keys() == {name for name, row in rows.items() if row["status"] != "failed"}
    for name, frames in masks.items():
        assert frames == sorted(set(frames)), f"{name}: a frame is there twice or out of order"
        assert len(frames) <= rows[name]["frames"] <= rows[name]["end_frame"]
    assert listener.connections == 0
    outside = {path for path in _tree(tmp_path) - before if not path.startswith(str(output))}
    assert not outside, "the job wrote outside of its output"


def test_other_schemes_are_refused_before_any_work(ray_local: None, weights: str, tmp_path: Path) -> None:
    schemes = ["http", "https", "ftp", "rtmp", "rtsp", "udp", "tcp", "hls+http", "gs", "gopher", "mmsh", "crypto"]
    lines = [{"video_uri": f"{scheme}://127.0.0.1:9/a.mp4", "objects": [{"box": [1, 2, 3, 4]}]} for scheme in schemes]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError) as refused:
        run(SegmentOptions(str(manifest), str(tmp_path / "out"), weights=weights))
    for row, scheme in enumerate(schemes, start=1):
        assert f"m.jsonl:{row} video_uri: expected {SCHEMES}, got '{scheme}://" in str(refused.value)
    assert not (tmp_path / "out" / "_runs").exists()
