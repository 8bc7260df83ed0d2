"""Training pairs: a template crop, a search crop of the same object, its box and its mask in the search crop.

Three kinds of pairs: two frames of a video; one still seen twice; an object cut out and pasted over other pictures.
An object of which only the box is known is never cut out, turned or pasted, and its pair has no mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE
from model.training.data.augment import apply_look, blur, draw_look, grey, paste
from model.training.data.geometry import View, crop_matrix, transform_box, warp_mask, warp_picture
from model.training.data.training_store import StoredTrack, TrainingStore

_MARGIN = 64
# The published paste takes the corner of a mask's pixel for its centre, and maps W pixels of a frame to W - 1. A mask
# comes to lie (k - 1) / 2 + x / W frame pixels too far left, with k frame pixels to one of the mask: in the middle of
# the frame half a pixel of the mask whatever k is. The labels lie as much to the right and below.
PASTE_OFFSET = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])


@dataclass(frozen=True, slots=True)
class PairRules:
    """Shares of the kinds of pairs and strength of their augmentation (pixels of the crop, factors, degrees).

    The rest of the pairs show one still twice; without stills, two frames of a video. `frame_gap` counts frames in
    which the object is annotated.
    """

    video_share: float = 0.45
    paste_share: float = 0.2
    frame_gap: int = 80
    template_shift: float = 4.0
    template_zoom: float = 0.05
    search_shift: float = 64.0
    search_zoom: float = 0.18
    angle: float = 12.0
    stretch: float = 0.12
    fill_share: float = 0.5
    blur_share: float = 0.18
    grey_share: float = 0.20
    distractor_share: float = 0.25
    least_visible: float = 0.4


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair: crops uint8 BGR [127, 127, 3] and [S, S, 3]; mask uint8 [S, S] of 0 and 1; S is 255 or 143.

    box: float64 [4], centre x, centre y, width, height, relative to the centre of the search crop.
    group: number of the object's group; crops of one group may show the same object.
    masked: whether `mask` is the object's; else it is its box.
    """

    template: np.ndarray
    search: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    group: int
    masked: bool = True


class PairSampler:
    """Draws pairs from a store; every draw depends on the generator alone.

    Args:
        store: the pictures.
        rules: how pairs are made.
        held_out: sequences to leave out, by name; of a group `set/name` either may be given.
        search_size: side of the search crop: 255, or 143 where only the refinement is trained.
        masked_only: leave out objects of which only the box is known.

    Raises:
        ValueError: no object is left to draw from.
    """

    def __init__(
        self,
        store: TrainingStore,
        rules: PairRules | None = None,
        held_out: frozenset[str] = frozenset(),
        *,
        search_size: int = SEARCH_SIZE,
        masked_only: bool = False,
    ) -> None:
        self.store = store
        self.rules = rules or PairRules()
        self.search_size = search_size
        tracks = [track for track in store.tracks() if not {track.group, track.group.split("/")[-1]} & held_out]
        if masked_only:
            tracks = [track for track in tracks if self._masked(track)]
        self.videos = [track for track in tracks if track.video and len(track.instances) > 1]
        self.stills = [track for track in tracks if not track.video]
        self._cut_videos = [track for track in self.videos if self._masked(track)]
        self._cut_stills = [track for track in self.stills if self._masked(track)]
        self._groups = {name: number for number, name in enumerate(sorted({track.group for track in tracks}))}
        if not tracks:
            raise ValueError("the training store has no object left to train on")
        if not self.videos and not self.stills:
            raise ValueError("the training store has no still and no object in two frames of a video")

    def _masked(self, track: StoredTrack) -> bool:
        return all(self.store.has_mask(int(instance)) for instance in track.instances)

    def draw(self, rng: np.random.Generator) -> Pair:
        """One pair of a random kind."""
        pasted_from = max(self.rules.video_share, 1 - self.rules.paste_share)
        for _ in range(50):
            kind = rng.random()
            if kind > pasted_from and (self._cut_videos or self._cut_stills):
                pair = self._pasted_pair(rng)
            elif self.videos and (kind < self.rules.video_share or not self.stills):
                pair = self._video_pair(rng)
            else:
                pair = self._still_pair(rng)
            if pair is not None:
                return pair
        raise ValueError("no usable training pair in 50 draws: the objects leave every search window")

    def _video_pair(self, rng: np.random.Generator) -> Pair | None:
        track = self.videos[rng.integers(len(self.videos))]
        first = int(rng.integers(len(track.instances)))
        low, high = max(0, first - self.rules.frame_gap), min(len(track.instances), first + self.rules.frame_gap + 1)
        second = int(rng.integers(low, high))
        return self._pair(rng, track, int(track.instances[first]), int(track.instances[second]), strength=0.45)

    def _still_pair(self, rng: np.random.Generator) -> Pair | None:
        track = self.stills[rng.integers(len(self.stills))]
        instance = int(track.instances[0])
        return self._pair(rng, track, instance, instance, strength=0.9)

    def _pasted_pair(self, rng: np.random.Generator) -> Pair | None:
        pool = self._cut_videos if self._cut_videos and rng.random() < 0.3 else self._cut_stills
        pool = pool or self._cut_videos
        track = pool[rng.integers(len(pool))]
        first = int(track.instances[rng.integers(len(track.instances))])
        second = int(track.instances[rng.integers(len(track.instances))])
        return self._pair(rng, track, first, second, strength=0.7, pasted=True)

    def _pair(
        self,
        rng: np.random.Generator,
        track: StoredTrack,
        first: int,
        second: int,
        *,
        strength: float,
        pasted: bool = False,
    ) -> Pair | None:
        rules, size = self.rules, self.search_size
        still = first == second
        masked = self.store.has_mask(second)
        flip = bool(rng.random() < 0.5)
        view = self._view(rng, rules.template_shift, rules.template_zoom, 0.0, flip)
        template = self._object_crop(rng, first, TEMPLATE_SIZE, view, still=still, pasted=pasted and rng.random() < 0.6)
        turn = (1.0 if still else 0.4) if masked else 0.0  # a turned box says little of the object's own
        view = self._view(rng, rules.search_shift, rules.search_zoom, turn, flip)
        matrix = crop_matrix(self.store.box(second), size, view)
        search = self._object_crop(rng, second, size, view, still=still, pasted=pasted)
        wide = warp_mask(self.store.mask(second), self.store.box(second), matrix, size, _MARGIN)
        edges = slice(_MARGIN, _MARGIN + size)
        inside = wide[edges, edges]
        whole = np.count_nonzero(wide >= 128)
        if whole == 0 or np.count_nonzero(inside >= 128) < rules.least_visible * whole:
            return None
        box = _search_box(wide, transform_box(matrix, self.store.box(second)), view)
        if rng.random() < rules.distractor_share:
            search, inside = self._with_distractor(rng, search, inside, track, box)
        template, search = self._dress(rng, template, search, strength)
        mask = (cv2.warpAffine(inside, PASTE_OFFSET, (size, size), flags=cv2.INTER_LINEAR) >= 128).astype(np.uint8)
        return Pair(template, search, mask, box, self._groups[track.group], masked)

    def _view(self, rng: np.random.Generator, shift: float, zoom: float, turn: float, flip: bool) -> View:
        shift_x, shift_y = rng.uniform(-shift, shift, 2)
        return View(
            shift_x=float(shift_x),
            shift_y=float(shift_y),
            zoom=float(np.exp(rng.uniform(-zoom, zoom))),
            stretch=float(np.exp(rng.uniform(-1, 1) * self.rules.stretch * turn)),
            angle=float(rng.uniform(-1, 1) * self.rules.angle * turn),
            flip=flip,
        )

    def _object_crop(
        self, rng: np.random.Generator, instance: int, size: int, view: View, *, still: bool, pasted: bool
    ) -> np.ndarray:
        store = self.store
        matrix = crop_matrix(store.box(instance), size, view)
        picture = store.picture_of(instance)
        if not pasted:
            # A still rarely fills its search window; a flat surround would give the object's place away.
            fill = size == self.search_size and still and rng.random() < self.rules.fill_share
            under = self._background(rng, size) if fill else None
            return warp_picture(store.picture(picture), matrix, size, store.mean(picture), under)
        sprite = warp_picture(store.picture(picture), matrix, size, None)
        coverage = warp_mask(store.mask(instance), store.box(instance), matrix, size)
        return paste(self._background(rng, size), sprite, coverage)

    def _background(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """A crop near a random object of a random track."""
        pool = self.videos if self.videos and (rng.random() < 0.3 or not self.stills) else self.stills
        track = pool[rng.integers(len(pool))]
        instance = int(track.instances[rng.integers(len(track.instances))])
        view = self._view(rng, 110.0, 0.5, 0.3, bool(rng.random() < 0.5))
        picture = self.store.picture_of(instance)
        border = None if rng.random() < 0.7 else self.store.mean(picture)
        return warp_picture(
            self.store.picture(picture), crop_matrix(self.store.box(instance), size, view), size, border
        )

    def _with_distractor(
        self, rng: np.random.Generator, search: np.ndarray, inside: np.ndarray, track: StoredTrack, box: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Paste another object beside the tracked one; the little it covers leaves the mask."""
        use_videos = self._cut_videos and (rng.random() < 0.3 or not self._cut_stills)
        pool = self._cut_videos if use_videos else self._cut_stills
        if not pool:
            return search, inside
        other = pool[rng.integers(len(pool))]
        if other.group == track.group:
            return search, inside
        instance = int(other.instances[rng.integers(len(other.instances))])
        view = self._view(rng, 110.0, 0.3, 0.5, bool(rng.random() < 0.5))
        away = np.array([view.shift_x, view.shift_y]) - box[:2]
        if np.hypot(*away) < 50:
            return search, inside
        size = self.search_size
        matrix = crop_matrix(self.store.box(instance), size, view)
        coverage = warp_mask(self.store.mask(instance), self.store.box(instance), matrix, size)
        hidden = np.count_nonzero((coverage >= 128) & (inside >= 128))
        if hidden > 0.2 * np.count_nonzero(inside >= 128):
            return search, inside
        sprite = warp_picture(self.store.picture(self.store.picture_of(instance)), matrix, size, None)
        return paste(search, sprite, coverage), np.minimum(inside, 255 - coverage)

    def _dress(
        self, rng: np.random.Generator, template: np.ndarray, search: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change colours: together first, then each a little on its own; blur the search crop; sometimes grey."""
        if rng.random() < 0.7:
            common = draw_look(rng, 1.0)
            template, search = apply_look(template, common), apply_look(search, common)
        if rng.random() < 0.8:
            search = apply_look(search, draw_look(rng, strength))
        if rng.random() < self.rules.grey_share:
            template, search = grey(template), grey(search)
        if rng.random() < self.rules.blur_share:
            search = blur(search, rng)
        if rng.random() < self.rules.blur_share / 3:
            template = blur(template, rng)
        return template, search


def _search_box(wide: np.ndarray, corners: np.ndarray, view: View) -> np.ndarray:
    """Centre and size of the object relative to the crop's centre.

    Corners of the stored box are exact when the crop is upright; a turned object is measured on its mask, as far
    as that reaches.
    """
    centre = (len(wide) - 2 * _MARGIN) / 2
    if view.angle:
        columns = np.flatnonzero((wide >= 128).any(axis=0))
        rows = np.flatnonzero((wide >= 128).any(axis=1))
        low = np.array([columns[0], rows[0]]) - float(_MARGIN)
        high = np.array([columns[-1] + 1, rows[-1] + 1]) - float(_MARGIN)
        at_edge = np.array([columns[0] == 0, rows[0] == 0, columns[-1] == len(wide) - 1, rows[-1] == len(wide) - 1])
        measured = np.concatenate([low, high])
        corners = np.where(at_edge, corners, measured)
    return np.concatenate([(corners[:2] + corners[2:]) / 2 - centre, corners[2:] - corners[:2]])
