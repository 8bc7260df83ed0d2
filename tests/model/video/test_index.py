"""What the index says of videos that do not say much of themselves."""

from pathlib import Path

import av
import numpy as np
import pytest

from model.video import index_video


def test_a_raw_stream_runs_at_its_rate(tmp_path: Path) -> None:
    """Without a container there are no timestamps: frames follow each other at the average rate."""
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"bf": "0"}
        for value in range(10):
            image = np.full((48, 64, 3), value * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    index = index_video(path)
    assert index.frames == 10
    assert index.seconds(np.arange(10)).tolist() == pytest.approx([i / index.fps for i in range(10)])
