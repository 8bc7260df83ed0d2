"""Damaged videos: cut off, bytes changed, frames of another size, files that are no videos. Never a wrong frame."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.decode import DecodeSettings, Failed, Finished
from tests.pipeline.decode.hostile_files import claim_ten_times_the_frames
from tests.pipeline.videos import Plain, Read, make_video, plain, read_clip

KINDS = {
    "b.mp4": {"b_frames": 2},
    "b.mkv": {"b_frames": 2, "open_gop": True},
    "b.ts": {"b_frames": 2},
    "m.avi": {"codec": "mpeg4"},
    "p.mp4": {"codec": "mpeg4"},
}


@pytest.fixture(scope="module", params=list(KINDS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plain]:
    path = make_video(tmp_path_factory.mktemp("whole") / request.param, **KINDS[request.param])  # type: ignore[arg-type]
    return path, plain(path)


def check(read: Read, damaged: Path) -> None:
    """The frames handed out are those that FFmpeg shows, in that order; only a frame that it refuses has none."""
    if not read.opened:
        assert isinstance(read.end, Failed) and not read.frames
        return
    reference = plain(damaged)
    assert list(read.frames) == sorted(read.frames)
    if isinstance(read.end, Finished):
        assert len(read.frames) == len(reference.frames)
        assert len(read.frames) + read.end.corrupt_frames == read.opened[-1].info.frames
    for given, right in zip(read.frames.values(), reference.frames, strict=False):
        np.testing.assert_array_equal(given, right)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_video_cut_off_anywhere(whole: tuple[Path, Plain], tmp_path: Path, decoder: str) -> None:
    path, reference = whole
    data = path.read_bytes()
    for tenth in range(10):
        cut = tmp_path / f"{tenth}{path.suffix}"
        cut.write_bytes(data[: len(data) * tenth // 10])
        read = read_clip(cut, decoder=decoder)
        check(read, cut) if tenth else None
        assert len(read.frames) <= len(reference.frames)
        if tenth == 0:
            assert isinstance(read.end, Failed)
            assert (read.end.stage, read.end.error_type) == ("open", "EmptyFile")


def fuzz(whole: tuple[Path, Plain], folder: Path, decoder: str, variants: int) -> dict[str, int]:
    """Decode variants with changed bytes; returns how they ended."""
    path, _ = whole
    rng = random.Random(path.name)
    ends: dict[str, int] = {}
    for number in range(variants):
        data = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged = folder / f"{number}{path.suffix}"
        damaged.write_bytes(data)
        read = read_clip(damaged, decoder=decoder, max_corrupt=1.0)
        check(read, damaged)
        how = type(read.end).__name__ if isinstance(read.end, Finished) else read.end.error_type
        how += f" by {read.end.decoder}" + (" after starting over" if len(read.opened) > 1 else "")
        ends[how] = ends.get(how, 0) + 1
        damaged.unlink()
    return ends


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_changed_bytes(whole: tuple[Path, Plain], tmp_path: Path, decoder: str) -> None:
    fuzz(whole, tmp_path, decoder, 4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_changed_bytes_in_many_variants(
    whole: tuple[Path, Plain], tmp_path: Path, say: Callable[[str], None]
) -> None:
    ends = fuzz(whole, tmp_path, "decord", 40)
    say(f"{whole[0].name}: {ends}")


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_more_corrupt_frames_than_allowed_fail_the_clip(tmp_path: Path, decoder: str) -> None:
    path = make_video(tmp_path / "c.mp4", 60, codec="mpeg4", b_frames=0)
    reference = plain(path)
    _spoil(path, packets=range(20, 30))
    read = read_clip(path, decoder=decoder, max_corrupt=0.1)
    assert isinstance(read.end, Failed)
    assert (read.end.stage, read.end.error_type, read.end.keep_rows) == ("decode", "TooManyCorrupt", False)
    assert "of the 60 frames" in read.end.message
    read = read_clip(path, decoder=decoder, max_corrupt=0.5)
    assert isinstance(read.end, Finished)
    assert read.end.corrupt_frames == 10
    assert list(read.frames) == [*range(20), *range(30, 60)]
    assert [read.seconds[i] for i in read.frames] == [reference.seconds[i] for i in read.frames]


def test_lost_frames_at_the_end_are_counted(tmp_path: Path) -> None:
    path = make_video(tmp_path / "c.mp4", 60, codec="mpeg4", b_frames=0)
    _spoil(path, packets=range(57, 60))
    read = read_clip(path, max_corrupt=0.1)
    assert isinstance(read.end, Finished)
    assert (read.end.corrupt_frames, len(read.frames)) == (3, 57)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("stride", [1, 4])
def test_a_frame_that_is_not_shown_is_none(tmp_path: Path, decoder: str, stride: int) -> None:
    """A picture that says "not coded": FFmpeg shows 59 frames, and so many there are."""
    path = make_video(tmp_path / "c.mp4", 60, codec="mpeg4", group=30)
    reference = plain(path)
    _spoil(path, packets=range(40, 41), silently=True)
    settings = DecodeSettings(in_process=True, chunk_bytes=5 * 128 * 96 * 3)
    read = read_clip(path, settings, decoder=decoder, stride=stride)
    assert isinstance(read.end, Finished)
    assert (read.end.corrupt_frames, read.end.decoder) == (0, "pyav")
    assert read.opened[-1].info.frames == 59
    assert list(read.frames) == list(range(0, 59, stride))
    for index in [i for i in read.frames if i < 40]:
        np.testing.assert_array_equal(read.frames[index], reference.frames[index])
    if stride == 1:
        assert list(read.seconds.values()) == [s for i, s in enumerate(reference.seconds) if i != 40]
        check(read, path)


def _spoil(path: Path, packets: range, *, silently: bool = False) -> None:
    """Overwrite whole packets, so that they do not decode; or, MPEG-4 at 30 Hz, mark them as not coded."""
    with av.open(str(path)) as container:
        found = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    for number in packets:
        position, size = found[number]
        assert position is not None
        if silently:  # the bit after picture type, second, marker, five bits of time, marker
            assert data[position : position + 4] == b"\x00\x00\x01\xb6"
            data[position + 5] &= ~0x20
        else:
            data[position : position + size] = bytes([0xFF]) * size
    path.write_bytes(data)


def test_a_file_cut_off_keeps_the_rows_before(tmp_path: Path) -> None:
    path = make_video(tmp_path / "c.mov", 60, group=10)
    _index_first(path)
    whole = plain(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    read = read_clip(path)
    assert isinstance(read.end, Failed)
    assert (read.end.stage, read.end.error_type, read.end.keep_rows) == ("decode", "Truncated", True)
    assert 5 < len(read.frames) < 60
    sound = list(read.frames)[:-4]
    for index in sound:
        np.testing.assert_array_equal(read.frames[index], whole.frames[index])
    assert isinstance(read_clip(path, end_frame=sound[-1]).end, Finished), "the part asked for is all there"


def _index_first(path: Path) -> None:
    """Write the file anew with its index before its frames."""
    moved = path.with_name("moved" + path.suffix)
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    moved.replace(path)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize(("name", "codec"), [("c.mp4", "libx264"), ("c.mp4", "mpeg4"), ("c.avi", "mpeg4")])
def test_a_header_that_claims_ten_times_the_frames(tmp_path: Path, name: str, codec: str, decoder: str) -> None:
    path = make_video(tmp_path / name, 20, codec=codec)
    reference = plain(path)
    claim_ten_times_the_frames(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 200
    read = read_clip(path, decoder=decoder)
    assert isinstance(read.end, Finished)
    assert (read.end.frames, read.end.corrupt_frames) == (20, 0)
    assert [read.opened[0].info.frames, read.opened[0].end_frame] == [20, 20]
    for index, frame in read.frames.items():
        np.testing.assert_array_equal(frame, reference.frames[index])


def test_frames_that_change_size_end_the_clip(tmp_path: Path) -> None:
    first = make_video(tmp_path / "1.ts", 20, width=128, height=96)
    second = make_video(tmp_path / "2.ts", 20, width=160, height=128)
    both = tmp_path / "both.ts"
    both.write_bytes(_later(second, tmp_path, first.read_bytes()))
    for decoder in ("decord", "pyav"):
        read = read_clip(both, decoder=decoder)
        assert isinstance(read.end, Failed)
        assert (read.end.error_type, read.end.keep_rows) == ("SizeChanged", True)
        assert "frame 20 is 160x128, those before are 128x96" in read.end.message
        assert list(read.frames) == list(range(20))


def _later(path: Path, folder: Path, before: bytes) -> bytes:
    """The stream of `before` followed by the one at `path` with timestamps that go on."""
    moved = folder / "later.ts"
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"mpegts_copyts": "1"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts + 60000, packet.dts + 60000
                packet.stream = stream
                target.mux(packet)
    return before + moved.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{other}</BaseURL></MPD>',
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, text: str, suffix: str) -> None:
    other = make_video(tmp_path / "other.mp4", 5)
    path = tmp_path / f"list{suffix}"
    path.write_text(text.format(other=other))
    read = read_clip(path)
    assert isinstance(read.end, Failed)
    assert (read.end.stage, read.end.error_type) == ("open", "InvalidData")


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 100)
    for path, stage, kind in [
        (text, "open", "InvalidData"),
        (tmp_path / "absent.mp4", "fetch", "NotFound"),
        (tmp_path, "fetch", "NotAFile"),
    ]:
        read = read_clip(path)
        assert isinstance(read.end, Failed)
        assert (read.end.stage, read.end.error_type) == (stage, kind)
        assert str(path) in read.end.message
