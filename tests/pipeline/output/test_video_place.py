"""Where the video of a clip is, for readers of an output and its report alike."""

from __future__ import annotations

from pathlib import Path

from pipeline.output.video_place import find_video


def test_a_relative_uri_is_looked_for_in_the_folders_of_the_manifests(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir(parents=True)
    (second / "v.mp4").write_bytes(b"")
    assert find_video("v.mp4", [str(first), str(second)]) == str(second / "v.mp4")
    assert find_video("v.mp4", [str(first)]) == str(first / "v.mp4"), "there is one place it can be"
    assert find_video("w.mp4", [str(first), str(second)]) is None
    assert find_video("v.mp4", []) is None
    assert find_video(str(second / "w.mp4"), []) == str(second / "w.mp4")
    assert find_video("s3://bucket/v.mp4", [str(first)]) == "s3://bucket/v.mp4"
