"""The published way, for comparison: one track at a time, float32, no batching, every mask over the full frame.

Same network, same crops and same choice of candidate as the engine; what differs is how the work is arranged:
frames are read with OpenCV as demonstrations of trackers do, each object of each frame is one forward pass of
its own, and mask, contour, rotated box and run lengths are worked out on the whole frame.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools import mask as coco

from model.network import SiamMask, Template, vectors_at
from model.tracker import TrackerParams, TrackState
from model.tracker.choose import Chooser
from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE, SearchWindow, crop, mean_colour, search_window, template_side

_LEAST_AREA = 100.0


@dataclass(slots=True)
class _Track:
    kernels: Template
    state: TrackState
    fill: np.ndarray


@dataclass(frozen=True, slots=True)
class PeerResult:
    """Track-frames done and the seconds they took, decoding included and loading of the network not."""

    track_frames: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.track_frames / self.seconds


class OneTrackLoop:
    """Tracks object after object, frame after frame.

    Args:
        model: the network, used as it comes: float32, batch norm in its place.
        params: the tracker's hyper-parameters.
        threads: of torch.
    """

    def __init__(self, model: SiamMask, params: TrackerParams, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = model.eval().float()
        self._params = params
        self._chooser = Chooser(params)

    @torch.inference_mode()
    def run(self, video: Path, boxes: Sequence[tuple[float, float, float, float]], frames: int) -> PeerResult:
        """Track `boxes` (x, y, w, h on the first frame) through the first `frames` frames of a video."""
        capture = cv2.VideoCapture(str(video))
        started, done = time.perf_counter(), 0
        tracks: list[_Track] = []
        for index in range(frames):
            read, frame = capture.read()
            if not read:
                raise RuntimeError(f"{video}: frame {index} does not decode")
            if not tracks:
                tracks = [self._start(frame, box) for box in boxes]
            for track in tracks:
                self._step(track, frame)
                done += 1
        seconds = time.perf_counter() - started
        capture.release()
        return PeerResult(done, seconds)

    def _start(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> _Track:
        state = TrackState.from_box(box, *frame.shape[:2])
        fill = mean_colour(frame)
        side = template_side(state.width, state.height)
        pixels = crop(frame, state.centre_x, state.centre_y, side, TEMPLATE_SIZE, fill)
        return _Track(self._model.template(_tensor(pixels)), state, fill)

    def _step(self, track: _Track, frame: np.ndarray) -> None:
        state, model = track.state, self._model
        height, width = frame.shape[:2]
        window = search_window(state.centre_x, state.centre_y, state.width, state.height)
        pixels = crop(frame, state.centre_x, state.centre_y, window.side, SEARCH_SIZE, track.fill)
        features = model.features(_tensor(pixels))
        response = model.respond(track.kernels, features)
        target = torch.tensor([[state.width * window.scale, state.height * window.scale]])
        choice = self._chooser.choose(response.score, response.box, target.float())
        place = (torch.zeros(1, dtype=torch.int64), choice.row, choice.column)
        logits = model.refined(features, vectors_at(model.mask_response(track.kernels, features), *place), *place)
        moved = self._chooser.update(
            choice,
            torch.tensor([[state.centre_x, state.centre_y, state.width, state.height]], dtype=torch.float64),
            torch.tensor([window.scale], dtype=torch.float64),
            torch.tensor([[width, height]], dtype=torch.float64),
            torch.tensor([False]),
        )
        track.state = TrackState(*moved[0].tolist())
        self._full_frame_mask(logits[0].sigmoid().numpy(), window, int(choice.row[0]), int(choice.column[0]), frame)

    def _full_frame_mask(
        self, probability: np.ndarray, window: SearchWindow, row: int, column: int, frame: np.ndarray
    ) -> None:
        """Warp to the frame, threshold, take the largest contour's smallest rectangle, encode."""
        height, width = frame.shape[:2]
        zoom = TEMPLATE_SIZE / window.scale / probability.shape[1]
        left = window.x + (column - 4) * 8 / window.scale
        top = window.y + (row - 4) * 8 / window.scale
        mapping = np.array([[zoom, 0, left], [0, zoom, top]])
        warped = cv2.warpAffine(probability, mapping, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=-1)
        mask = (warped > self._params.mask_threshold).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if contours:
            largest = max(contours, key=cv2.contourArea)
            if cv2.contourArea(largest) > _LEAST_AREA:
                cv2.boxPoints(cv2.minAreaRect(largest))
        coco.encode(np.asfortranarray(mask))


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
