"""Frames and times against FFmpeg's command line, over some hundreds of made files.

Every file is read with both decoders of the job and as `track_video` reads it. Where a file differs from FFmpeg's
command line, `DIFFERENCES` names why; any other difference fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.video import VideoError, open_video
from pipeline.decode import ClipRequest, DecodeSettings, Failed
from tests.pipeline.decode import barcode
from tests.pipeline.decode.ffmpeg_frames import FFMPEG, FFmpegFrames, ffmpeg_frames
from tests.pipeline.decode.made_files import make_files
from tests.pipeline.videos import Read, plain, read_clips

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs FFmpeg's command line (Debian: ffmpeg)")

DIFFERENCES = {
    "version": r"hevc.*\+(headless|tail)|vp9\+head\.ivf",
    "refused": r"mpeg2-interlaced\+head\.mpg",
    "raw": r"\.(h264|hevc|m4v|m2v|m1v)$",
    "asf": r"-b.*\.asf$",
}
"""Files that may differ from FFmpeg 5's command line, and why:

- version: FFmpeg before 6 shows grey pictures for HEVC before the first key frame, and what is left of a VP9 picture
  that is cut off. The frames are those of PyAV's own FFmpeg.
- refused: a frame that the decoder refuses keeps its index.
- raw: raw streams have no times, FFmpeg guesses; ours are index over rate.
- asf: ASF has times of decoding only; ours go to the frames in the order in which they are shown.

Beside these, times that repeat or go back in FFmpeg's output increase in ours, and `timing` says `repaired`.
"""


def expected(path: Path, shown: FFmpegFrames) -> tuple[list[int | None], str | None]:
    """The numbers of the frames, and the name of the difference that the file may have."""
    name = next((name for name, pattern in DIFFERENCES.items() if re.search(pattern, path.name)), None)
    frames = plain(path).frames if name == "version" else shown.frames
    return [barcode.read(frame) for frame in frames], name


def check(path: Path, shown: FFmpegFrames, frames: list[np.ndarray], seconds: list[float], timing: str) -> str | None:
    """What is wrong with frames that were read, None where nothing is."""
    numbers, difference = expected(path, shown)
    if [barcode.read(frame) for frame in frames] != numbers:
        return f"frames {[barcode.read(frame) for frame in frames]}, expected {numbers}"
    if difference != "version":
        for frame, right in zip(frames, shown.frames, strict=True):
            if frame.shape != right.shape or np.abs(frame.astype(int) - right).mean() > 12:
                return "a picture is not FFmpeg's"
    if not np.all(np.diff(seconds) > 0):
        return f"times do not increase: {seconds}"
    if difference in ("version", "raw", "asf"):
        return None
    if not np.all(np.diff(shown.seconds) > 0):
        close = np.allclose(seconds, np.maximum.accumulate(shown.seconds), atol=0.13)
        return None if timing == "repaired" and close else f"times {seconds} ({timing}), expected about {shown.seconds}"
    return None if np.allclose(seconds, shown.seconds, atol=1e-3) else f"times {seconds}, expected {shown.seconds}"


def check_clip(path: Path, shown: FFmpegFrames, read: Read) -> str | None:
    """The same for a clip of the job; a file that FFmpeg shows nothing of must have failed by name."""
    if not read.opened:
        return None if isinstance(read.end, Failed) and not shown.frames else f"{read.end}"
    if isinstance(read.end, Failed) and read.end.error_type != "Truncated":
        return f"{read.end}"
    if len(read.frames) + read.end.corrupt_frames != read.opened[-1].info.frames:
        return f"{len(read.frames)} frames and {read.end.corrupt_frames} corrupt, {read.opened[-1].info.frames} in all"
    if list(read.frames) != list(range(len(read.frames))) and read.end.corrupt_frames == 0:
        return f"indexes {list(read.frames)}"
    return check(path, shown, list(read.frames.values()), list(read.seconds.values()), read.opened[-1].info.timing)


@pytest.mark.timeout(900)
def test_every_made_file_reads_as_ffmpeg_shows_it(tmp_path: Path, say: Callable[[str], None]) -> None:
    files = list(make_files(tmp_path))
    assert len(files) >= 300 and len(set(files)) == len(files)
    shown = {path: ffmpeg_frames(path) for path in files}
    wrong: list[str] = []
    for decoder in ("pyav", "decord"):
        requests = [ClipRequest(path.name, str(path), decoder=decoder, max_corrupt=1.0) for path in files]  # type: ignore[arg-type]
        for path, read in zip(files, read_clips(requests, DecodeSettings(in_process=True)), strict=True):
            if problem := check_clip(path, shown[path], read):
                wrong.append(f"{path.name}, {decoder}: {problem}")
    for path in files:
        try:
            video = open_video(path)
            frames = list(video.read())
        except VideoError as error:
            if shown[path].frames and error.error_type != "Truncated":
                wrong.append(f"{path.name}, track_video: {error}")
            continue
        images, seconds = [frame.image for frame in frames], [frame.pts_s for frame in frames]
        if problem := check(path, shown[path], images, seconds, video.index.timing):
            wrong.append(f"{path.name}, track_video: {problem}")
    named = sum(expected(path, shown[path])[1] is not None for path in files)
    say(f"{len(files)} files, {named} with a named difference, {len(wrong)} readings differ otherwise")
    say("\n".join(wrong))
    assert not wrong
