"""Clips in which the object is hidden, gone, cut away or copied, made of clips with true masks.

The pictures are changed and the truth with them: a hidden pixel is not the object's. Every change begins after the init
frame and lasts for a part of the clip, so that a track is seen before, during and after.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from model.training.evaluate import HeldOutClip

TROUBLES = ("pole", "veil", "gone", "copied", "cut", "fast")
_FEATHER = 3.0  # pixels over which a pasted patch fades


def troubled(clip: HeldOutClip, other: HeldOutClip, name: str, rng: np.random.Generator) -> HeldOutClip:
    """The clip with one of `TROUBLES`; `other` gives the texture of what hides it, and the cut.

    Args:
        clip, other: frames uint8 [N, H, W, 3], of any sizes.
        rng: draws the places, times and sizes.
    """
    if name == "fast":
        step = int(rng.integers(3, 6))
        return replace(clip, name=f"{clip.name} {name}", frames=clip.frames[::step], truth=clip.truth[::step])
    first = int(rng.integers(4, max(5, len(clip.frames) // 2)))
    last = min(len(clip.frames), first + int(rng.integers(6, 40)))
    frames, truth = clip.frames.copy(), clip.truth.copy()
    size = (frames.shape[2], frames.shape[1])
    texture = cv2.resize(other.frames[len(other.frames) // 2], size)
    side = -1 if rng.random() < 0.5 else 1
    for index in range(first, last):
        part = (index - first) / max(1, last - first - 1)
        if name == "cut":
            frames[index] = cv2.resize(other.frames[min(index, len(other.frames) - 1)], size)
            truth[index] = False
        elif truth[index].any():
            _TROUBLE[name](frames[index], truth[index], texture, part, side)
    return replace(clip, name=f"{clip.name} {name}", frames=frames, truth=truth)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, w, h


def _pole(frame: np.ndarray, truth: np.ndarray, texture: np.ndarray, part: float, side: int) -> None:
    """An upright strip a little wider than the object passes over it, and stays on it for most of the time."""
    x, _, w, _ = _box(truth)
    half = 0.65 * w + 4
    offset = side * (2 * part - 1) ** 5 * (w + half)
    left, right = (int(np.clip(x + w / 2 + offset + edge, 0, frame.shape[1])) for edge in (-half, half))
    frame[:, left:right] = texture[:, left:right]
    truth[:, left:right] = False


def _veil(frame: np.ndarray, truth: np.ndarray, texture: np.ndarray, part: float, side: int) -> None:
    """A patch that moves with the object hides a growing and then a shrinking share of it."""
    x, y, w, h = _box(truth)
    share = min(1.2, 2.6 * (0.5 - abs(part - 0.5)))
    width = int(share * w)
    left = max(0, x - 2 if side > 0 else x + w + 2 - width)
    where = np.s_[max(0, y - 4) : y + h + 4, left : left + width + 2]
    frame[where] = texture[where]
    truth[where] = False


def _gone(frame: np.ndarray, truth: np.ndarray, texture: np.ndarray, part: float, side: int) -> None:
    """The object is painted over with what lies beside it."""
    x, y, w, h = _box(truth)
    grown = cv2.dilate(truth.astype(np.uint8), np.ones((15, 15), np.uint8))
    step = side * (w + 16)
    if not x + step >= 0 or x + w + step > frame.shape[1]:
        step = -step
    moved = np.roll(frame, -step, axis=1) if x + step >= 0 and x + w + step <= frame.shape[1] else texture
    weight = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), _FEATHER)[..., None]
    frame[:] = (frame * (1 - weight) + moved * weight).astype(np.uint8)
    truth[:] = False


def _copied(frame: np.ndarray, truth: np.ndarray, texture: np.ndarray, part: float, side: int) -> None:
    """The object is painted over, and a copy of it, mirrored and of other colours, stands nearby."""
    x, y, w, h = _box(truth)
    own, mask = frame[y : y + h, x : x + w][:, ::-1].copy(), truth[y : y + h, x : x + w][:, ::-1].copy()
    own = (0.5 * own + 0.5 * np.roll(own, 1, axis=2)).astype(np.uint8)
    _gone(frame, truth, texture, part, side)
    left = int(np.clip(x - side * 0.9 * w, 0, frame.shape[1] - w))
    frame[y : y + h, left : left + w][mask] = own[mask]


_TROUBLE = {"pole": _pole, "veil": _veil, "gone": _gone, "copied": _copied}
