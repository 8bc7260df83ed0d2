#!/usr/bin/env python3
"""SiamMask behind the TraX protocol, so that vot-toolkit runs it. In the workspace's trackers.ini:

    [siammask]
    protocol = trax
    command = /path/to/.venv/bin/python /path/to/jobs/vot_tracker.py --weights /path/to/weights.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.evaluate.engine import EngineOptions, open_engine


def serve(options: EngineOptions) -> None:
    """Answer a TraX client on standard input and output: start on a polygon, then a polygon a frame, until it quits."""
    try:
        import trax
    except ImportError:
        raise SystemExit("error: TraX is not installed: pip install 'siammask-batch[vot]'") from None
    from model.track.polygon_tracker import EngineTracker

    options.check_rotated_box()
    engine = open_engine(options)
    formats = [trax.Image.PATH, trax.Image.MEMORY, trax.Image.BUFFER]
    with engine, trax.Server([trax.Region.POLYGON], formats, tracker_name="siammask") as server:
        tracker = EngineTracker(engine, options.rotated_box)
        while True:
            request = server.wait()
            if request.type == trax.TraxStatus.INITIALIZE:
                region = request.objects[0][0]
                tracker.start(_pixels(request.image["color"]), _corners(region))
            elif request.type == trax.TraxStatus.FRAME:
                polygon = tracker.track(_pixels(request.image["color"]))
                region = trax.Polygon.create([(float(x), float(y)) for x, y in polygon.reshape(4, 2)])
            else:
                return
            server.status([(region, {"confidence": tracker.score})])


def _corners(region: Any) -> np.ndarray:
    return np.array([region.get(i) for i in range(region.size())], np.float32).reshape(-1)


def _pixels(image: Any) -> np.ndarray:
    """A frame of any of TraX's kinds as uint8 [H, W, 3] BGR."""
    import cv2
    import trax

    if image.type() == trax.Image.MEMORY:
        return cv2.cvtColor(image.array(), cv2.COLOR_RGB2BGR)
    if image.type() == trax.Image.BUFFER:
        frame, what = cv2.imdecode(np.frombuffer(image.buffer(), np.uint8), cv2.IMREAD_COLOR), "a buffer"
    else:
        frame, what = cv2.imread(image.path(), cv2.IMREAD_COLOR), image.path()
    if frame is None:
        raise ValueError(f"the client's frame cannot be read as a picture: {what}")
    return frame


app = command_line(serve, UsageError)

if __name__ == "__main__":
    main(app, for_people=False)  # TraX is spoken on standard output
