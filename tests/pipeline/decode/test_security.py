"""Files from strangers: no code in them runs, no other file or host is opened through them."""

from __future__ import annotations

import ast
import contextlib
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.decode import Failed, Finished
from pipeline.errors import UsageError
from pipeline.manifest import ManifestError, read_manifest
from pipeline.plan.model import check_model
from tests.conftest import ROOT
from tests.pipeline.decode.hostile_files import LISTS, Listener, move_data
from tests.pipeline.videos import make_video, read_clip


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.socket.close()


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd"])
def test_a_list_opens_no_connection(tmp_path: Path, listener: Listener, kind: str, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    path.write_text(LISTS[kind].format(url=f"http://127.0.0.1:{listener.port}/a.mp4"))
    for decoder in ("decord", "pyav"):
        read = read_clip(path, decoder=decoder)
        assert isinstance(read.end, Failed)
        assert (read.end.stage, read.end.error_type) == ("open", "InvalidData")
    assert listener.connections == 0


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_ffmpeg_left_alone_would_connect(tmp_path: Path, listener: Listener, kind: str) -> None:
    """Else the test above would prove nothing."""
    path = tmp_path / "list.m3u8"
    path.write_text(LISTS[kind].format(url=f"http://127.0.0.1:{listener.port}/a.ts"))
    options = {"protocol_whitelist": "file,http,tcp", "safe": "0", "extension_picky": "0"}
    with pytest.raises((av.FFmpegError, OSError)), av.open(str(path), options=options) as container:
        list(container.demux())
    assert listener.connections > 0


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_data_in_another_file_is_not_read(tmp_path: Path, decoder: str) -> None:
    video = make_video(tmp_path / "outer.mov", 5)
    other = tmp_path / "secret.mov"
    other.write_bytes(video.read_bytes())
    move_data(video, other)
    with av.open(str(video), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 5, "FFmpeg can be told to read it"
    read = read_clip(video, decoder=decoder)
    assert isinstance(read.end, Failed) and not read.frames


def test_links_are_followed_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 3)
    (tmp_path / "link.mp4").symlink_to(video)
    assert isinstance(read_clip(tmp_path / "link.mp4").end, Finished)
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "absent.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.mp4")
    began = time.monotonic()
    for name, kind in [
        ("dangling", "NotFound"),
        ("loop", "FetchError"),
        ("device", "NotAFile"),
        ("pipe", "NotAFile"),
    ]:
        read = read_clip(tmp_path / f"{name}.mp4")
        assert isinstance(read.end, Failed)
        assert (read.end.stage, read.end.error_type) == ("fetch", kind)
        assert f"{name}.mp4" in read.end.message
    assert time.monotonic() - began < 5


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors", "weights"])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_checkpoint_runs_no_code(tmp_path: Path, name: str, how: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / name
    content = {"state_dict": {"features.weight": torch.zeros(1)}, "epoch": Evil(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(UsageError, match=name):
        check_model(str(path), None)
    assert not marker.exists()


def test_a_preset_runs_no_code(tmp_path: Path) -> None:
    marker, preset = tmp_path / "ran", tmp_path / "preset.json"
    preset.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UsageError, match=r"preset\.json"):
        check_model(str(ROOT / "model" / "bundled" / "siammask-r18.safetensors"), str(preset))
    assert not marker.exists()


def test_a_parquet_manifest_runs_no_code(tmp_path: Path) -> None:
    """A type that older pyarrow unpickles from the file's metadata, in a column that is read and in one that is not."""
    marker = tmp_path / "ran"
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Evil(marker)),
    }
    objects = pa.array([[{"box": [1.0, 2.0, 3.0, 4.0]}]])
    for column in ("video_uri", "other"):
        fields = [
            pa.field("video_uri", pa.string(), metadata=metadata if column == "video_uri" else None),
            pa.field("objects", objects.type),
            pa.field("other", pa.string(), metadata=metadata if column == "other" else None),
        ]
        table = pa.table([["v.mp4"], objects, ["x"]], schema=pa.schema(fields))
        pq.write_table(table, tmp_path / "m.parquet")
        with contextlib.suppress(ManifestError):
            read_manifest(str(tmp_path / "m.parquet"), keep_columns=["other"], in_process=True)
        assert not marker.exists()


_RUN_CODE = {"pickle.load", "pickle.Unpickler", "yaml.load", "yaml.unsafe_load", "joblib.load", "eval", "exec"}


def test_nothing_is_loaded_in_a_way_that_runs_code() -> None:
    """No file is unpickled: `torch.load` has weights_only, NumPy and YAML build no objects."""
    found = []
    for path in [one for folder in ("model", "pipeline", "jobs", "infra") for one in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            bad = (
                (name == "torch.load" and given.get("weights_only") != "True")
                or name
                in ("pickle.load", "pickle.Unpickler", "yaml.load", "yaml.unsafe_load", "joblib.load", "eval", "exec")
                # Ray's own blocks, made by our own tasks; rows that wait in a file without a name, which none can open.
                or (name == "pickle.loads" and path.name not in ("source.py", "backward.py"))
                or given.get("allow_pickle", "False") != "False"
            )
            if bad:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not found
