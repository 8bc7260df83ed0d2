"""Which way up a picture is: the display matrix of a file, reduced to quarter turns and a mirror."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_LEFT_TO_RIGHT = 1


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a decoded picture becomes the one that players show.

    Attributes:
        rotation: degrees to turn it clockwise first: 0, 90, 180 or 270.
        mirrored: whether it is mirrored left to right after that.
    """

    rotation: int = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.rotation % 180 == 90

    def upright(self, picture: NDArray[np.uint8], into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Turn and mirror a picture.

        Args:
            picture: uint8 [H, W, 3] as decoded.
            into: where the result goes, uint8 [H', W', 3], contiguous; a new array where None.

        Returns:
            uint8 [H', W', 3], contiguous: `into`, or an array of its own.
        """
        result = into
        if result is None:
            height, width = picture.shape[:2]
            result = np.empty((width, height, 3) if self.swaps_sides else picture.shape, np.uint8)
        if self.rotation and self.mirrored:
            cv2.flip(cv2.rotate(picture, _ROTATIONS[self.rotation]), _LEFT_TO_RIGHT, dst=result)
        elif self.rotation:
            cv2.rotate(picture, _ROTATIONS[self.rotation], dst=result)
        elif self.mirrored:
            cv2.flip(picture, _LEFT_TO_RIGHT, dst=result)
        else:
            result[...] = picture
        return result


def orientation_of(frame: VideoFrame) -> Orientation:
    """The orientation that a decoded frame asks for; angles between quarter turns go to the nearest."""
    side_data: Any = frame.side_data
    matrix = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return Orientation()
    # A point (x, y) of the decoded picture is shown at (a x + c y, b x + d y), y pointing down.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(np.int64).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flip_x, flip_y = a < 0, d < 0
        return Orientation(180 if flip_y else 0, mirrored=flip_x != flip_y)
    flip_x, flip_y = c < 0, b < 0
    # With neither flip, rows and columns change places: a quarter turn clockwise, then mirrored.
    return Orientation(270 if flip_y else 90, mirrored=flip_x == flip_y)
