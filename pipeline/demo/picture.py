"""The picture of the result in the README: frames of the demo clips as they were tracked.

python -m pipeline.demo.picture docs/images/result.webp
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from model.track.results import FrameResult
from model.video.contact_sheet import contact_sheet
from model.video.overlay import TrackedObject, colour_of, draw_objects
from pipeline.demo.corpus import write_corpus

COLUMNS, WIDTH, QUALITY = 3, 400, 82


def picture() -> np.ndarray:
    """Three frames of each demo clip, tracked from its manifest's boxes, uint8 [H, W, 3] RGB."""
    from model.track.one_video import track_video

    drawn, captions = [], []
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder))
        for line in corpus.manifest.read_text().splitlines():
            clip = json.loads(line)
            boxes = {target["object_id"]: target["box"] for target in clip["objects"]}
            video = corpus.manifest.parent / clip["video_uri"]
            results = list(track_video(video, boxes, device="cpu", precision="fp32", images=True))
            for position in np.linspace(0, len(results) - 1, COLUMNS).round().astype(int):
                drawn.append(_drawn(results[position]))
                captions.append(f"{clip['clip_id']}, frame {results[position].frame_index}")
    return contact_sheet(drawn, captions, columns=COLUMNS, width=WIDTH)


def _drawn(result: FrameResult) -> np.ndarray:
    """As `FrameResult.overlay`, from the second colour on: the first is the fish's own."""
    assert result.image is not None
    objects = [
        TrackedObject(key, track.score, track.rle, track.corners.tolist(), track.state)
        for key, track in result.objects.items()
    ]
    return draw_objects(result.image, objects, {key: colour_of(i) for i, key in enumerate(result.objects, start=1)})


def main(target: Annotated[Path, typer.Argument(help="The picture, by its name.")]) -> None:
    """Track the demo clips and draw some of their frames."""
    import cv2

    cv2.imwrite(str(target), picture()[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])


if __name__ == "__main__":
    typer.run(main)
