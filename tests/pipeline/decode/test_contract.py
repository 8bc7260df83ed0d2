"""Both decoders against PyAV's plain reading: pixels and timestamps by frame index, file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode import Failed, Finished
from tests.pipeline.videos import make_video, plain, read_clip

BROKEN = {
    "am_audio_only.mp4": ("open", "NoVideoStream"),
    "am_malformed_free_box.mp4": ("open", "InvalidData"),
    "am_vp9_invalid_bitstream.webm": ("decode", "InvalidData"),
}
"""Files that cannot be read, with the error expected."""

LOST = {"am_invalid_nalu.mp4": [26], "decord_corrupted.mp4": [30]}
"""Frames that nobody can decode."""

BY_PYAV = {
    "am_bbb_2500ms.ts": "its pictures are larger than 720p",
    "am_hlg10.mp4": "10 bits: decord's conversion to RGB differs",
    "am_invalid_nalu.mp4": "a frame cannot be decoded",
    "am_vvc_unsupported.mp4": "10 bits: decord's conversion to RGB differs",
    "decord_corrupted.mp4": "a frame cannot be decoded",
    "sam2_05_default_juggle.mp4": "its groups of pictures are larger than decord may hold",
    "tc_h264_10bits.mp4": "10 bits: decord's conversion to RGB differs",
}
"""Files where decord is asked for and PyAV decodes, all of it or the end."""


def videos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in {".mp4", ".mov", ".avi", ".mkv", ".webm", ".ts"})


@pytest.mark.shared
@pytest.mark.timeout(900)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_every_file_reads_as_pyav_reads_it(shared: Path, decoder: str, say: Callable[[str], None]) -> None:
    files = videos(shared / "data" / "videos")
    assert len(files) == 28
    table = [f"{'file':32} {'asked':7} {'used':7} frames corrupt  difference from PyAV read in order"]
    wrong = []
    for path in files:
        read = read_clip(path, decoder=decoder)
        if path.name in BROKEN:
            assert isinstance(read.end, Failed), path.name
            assert (read.end.stage, read.end.error_type) == BROKEN[path.name]
            assert str(path) in read.end.message
            table.append(f"{path.name:32} {decoder:7} {'-':7} {0:6} {0:7}  {read.end.error_type}: not readable")
            continue
        reference = plain(path)
        lost = LOST.get(path.name, [])
        expected = [i for i in range(len(reference.pts) + len(lost)) if i not in lost]
        worst = max(
            int(np.abs(read.frames[i].astype(int) - frame).max())
            for i, frame in zip(expected, reference.frames, strict=True)
            if i in read.frames
        )
        used = "pyav" if path.name in BY_PYAV or decoder == "pyav" else "decord"
        same = (
            isinstance(read.end, Finished)
            and read.end.corrupt_frames == len(lost)
            and read.end.decoder == used
            and list(read.frames) == expected
            and [read.seconds[i] for i in expected] == reference.seconds
            and worst == 0
        )
        if not same:
            wrong.append((path.name, worst, read.end))
        note = f"none (largest pixel difference {worst})" + (
            f"; {BY_PYAV[path.name]}" if decoder == "decord" and path.name in BY_PYAV else ""
        )
        table.append(f"{path.name:32} {decoder:7} {read.end.decoder!s:7} {len(expected):6} {len(lost):7}  {note}")
    say("\n".join(table))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b_frames.mp4", {}),
        ("open_gop.mp4", {"open_gop": True, "b_frames": 3}),
        ("one_group.mkv", {"group": 1000}),
        ("intra.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("mpeg2.ts", {"codec": "mpeg2video"}),
        ("full_chroma.mp4", {"pix_fmt": "yuv444p"}),
        ("ten_bits.mp4", {"pix_fmt": "yuv420p10le"}),
        ("odd_size.mp4", {"codec": "mpeg4", "width": 98, "height": 66}),
        ("padded_lines.mp4", {"width": 96, "height": 64}),
        ("variable.mp4", {"times": [n * n // 7 + n for n in range(60)]}),
        ("half.mp4", {"rotation": 180}),
        ("left.mp4", {"rotation": 90}),
        ("right.mp4", {"rotation": -90}),
    ],
)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_made_videos_read_as_pyav_reads_them(
    tmp_path: Path, name: str, options: dict[str, object], decoder: str
) -> None:
    path = make_video(tmp_path / name, **options)  # type: ignore[arg-type]
    reference = plain(path)
    read = read_clip(path, decoder=decoder)
    assert isinstance(read.end, Finished), read.end
    assert list(read.frames) == list(range(60))
    assert list(read.seconds.values()) == reference.seconds
    for index, frame in enumerate(reference.frames):
        np.testing.assert_array_equal(read.frames[index], frame, err_msg=f"frame {index}")
    info = read.opened[-1].info
    assert (info.height, info.width) == reference.frames[0].shape[:2]
    assert info.rotation == -int(options.get("rotation", 0)) % 360  # type: ignore[call-overload]
    assert info.frames == 60


def test_decord_decodes_an_ordinary_video(tmp_path: Path) -> None:
    """The default is no dead letter: agreement is found where there is one."""
    read = read_clip(make_video(tmp_path / "plain.mp4"))
    assert [opened.info.decoder for opened in read.opened] == ["decord"]
    assert isinstance(read.end, Finished) and read.end.decoder == "decord"
