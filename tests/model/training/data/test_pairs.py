"""The store of pictures, and the pairs drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.masks.finish import paste as paste_mask
from model.tracker.crop import context_side
from model.training.config import TrainingConfig
from model.training.data.augment import Look, apply_look, blur, draw_look, grey, paste
from model.training.data.batches import BatchDataset
from model.training.data.labels import mask_windows
from model.training.data.pairs import PairRules, PairSampler
from model.training.data.training_store import Limits, Picture, TrainingStore, write_store
from tests.model.training.pictures import moving_disk, small_store

PLAIN = PairRules(
    video_share=1.0, paste_share=0.0, template_shift=0, template_zoom=0, search_shift=0, search_zoom=0, angle=0,
    stretch=0, blur_share=0, grey_share=0, distractor_share=0, fill_share=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("store"))


def test_a_store_gives_back_pictures_boxes_and_masks(folder: Path) -> None:
    store = TrainingStore(folder)
    tracks = {track.group: track for track in store.tracks()}
    assert set(tracks) == {"red", "blue", "a.jpg", "b.jpg", "c.jpg"}  # the specks are left out
    assert len(tracks["red"].instances) == 5
    original = moving_disk("red", (20, 20, 230), 5, 1)[3]
    instance = int(tracks["red"].instances[3])
    assert np.array_equal(store.picture(store.picture_of(instance)), original.pixels)
    x, y, width, height = cv2.boundingRect(original.masks[0])
    assert store.box(instance).tolist() == [x, y, width, height]
    assert np.array_equal(store.mask(instance), original.masks[0][y : y + height, x : x + width])


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="prepare"):
        TrainingStore(tmp_path / "none")


@pytest.mark.parametrize(
    ("box", "area", "kept"),
    [
        ((0, 0, 40, 40), 900, True),
        ((0, 0, 11, 80), 500, False),
        ((0, 0, 20, 20), 300, False),
        ((0, 0, 99, 99), 9000, False),
        ((0, 0, 50, 50), 100, False),
        ((0, 0, 13, 90), 900, False),
    ],
)
def test_objects_unfit_for_training_are_left_out(box: tuple[int, int, int, int], area: int, kept: bool) -> None:
    assert Limits().accept(box, area, 100 * 100) is kept


def test_a_plain_pair_centres_the_object(folder: Path) -> None:
    pair = PairSampler(TrainingStore(folder), PLAIN).draw(np.random.default_rng(5))
    assert pair.template.shape == (127, 127, 3)
    assert pair.search.shape == (255, 255, 3)
    assert pair.box[:2] == pytest.approx([0, 0], abs=1e-6)
    x, y, width, height = cv2.boundingRect(pair.mask)
    assert [x + width / 2, y + height / 2] == pytest.approx([127.5, 127.5], abs=1.0)
    assert [width, height] == pytest.approx(pair.box[2:], abs=1.5)


@pytest.mark.parametrize("radius", [12, 30, 90])
def test_a_label_pasted_as_the_tracker_pastes_lies_on_its_object(radius: int, tmp_path: Path) -> None:
    truth = cv2.circle(np.zeros((401, 601), np.uint8), (300, 200), radius, 1, -1)
    pixels = np.repeat(truth[..., None] * 200, 3, 2)
    frames = [Picture(pixels, (truth,), ("1",), "disk", number, True) for number in (0, 1)]
    write_store(frames, tmp_path)
    pair = PairSampler(TrainingStore(tmp_path), PLAIN).draw(np.random.default_rng(1))
    label = mask_windows(pair.mask, np.array([[12, 12]]))[0].astype(np.float32)
    x, y, width, height = cv2.boundingRect(truth)
    side = context_side(width, height)
    window = (x + width / 2 - side / 2, y + height / 2 - side / 2, side, side)
    pasted = paste_mask(label, window, 0.5, *truth.shape)
    rows, columns = np.nonzero(pasted.pixels)
    assert columns.mean() + pasted.x == pytest.approx(300, abs=0.15)
    assert rows.mean() + pasted.y == pytest.approx(200, abs=0.15)


@pytest.mark.parametrize("video_share", [0.0, 1.0])
def test_mask_and_box_agree_under_augmentation(folder: Path, video_share: float) -> None:
    rules = PairRules(video_share=video_share, distractor_share=0.0, search_shift=30)
    sampler = PairSampler(TrainingStore(folder), rules)
    rng = np.random.default_rng(7)
    for _ in range(30):
        pair = sampler.draw(rng)
        x, y, width, height = cv2.boundingRect(pair.mask)
        assert [x + width / 2 - 127.5, y + height / 2 - 127.5] == pytest.approx(pair.box[:2], abs=1.6)
        assert [width, height] == pytest.approx(pair.box[2:], abs=3.2)
        assert np.abs(pair.box[:2]).max() <= 31


def test_the_mask_covers_the_object_and_nothing_else(folder: Path) -> None:
    sampler = PairSampler(TrainingStore(folder), replace(PLAIN, search_shift=30), frozenset({"blue"}))
    pair = sampler.draw(np.random.default_rng(1))
    red = pair.search.astype(int)
    shown = (red[..., 2] > 150) | (red[..., 0] > 150)
    inside = pair.mask > 0
    assert shown[inside].mean() > 0.9


@pytest.mark.parametrize("kinds", ["videos", "stills", "both"])
def test_kinds_of_pairs_have_their_shares(folder: Path, monkeypatch: pytest.MonkeyPatch, kinds: str) -> None:
    held_out = {"videos": {"a.jpg", "b.jpg", "c.jpg"}, "stills": {"red", "blue"}, "both": set()}[kinds]
    sampler = PairSampler(TrainingStore(folder), PairRules(video_share=0.45, paste_share=0.2), frozenset(held_out))
    counts = dict.fromkeys(("_video_pair", "_still_pair", "_pasted_pair"), 0)

    def counted(name: str) -> Callable[[np.random.Generator], str]:
        def draw(rng: np.random.Generator) -> str:
            counts[name] += 1
            return name

        return draw

    for name in counts:
        monkeypatch.setattr(sampler, name, counted(name))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        sampler.draw(rng)
    shares = {"videos": (0.8, 0, 0.2), "stills": (0, 0.8, 0.2), "both": (0.45, 0.35, 0.2)}[kinds]
    assert [count / 2000 for count in counts.values()] == pytest.approx(shares, abs=0.03)


def test_held_out_groups_are_not_drawn(folder: Path) -> None:
    sampler = PairSampler(TrainingStore(folder), PairRules(), frozenset({"red", "a.jpg"}))
    assert {track.group for track in sampler.videos} == {"blue"}
    assert {track.group for track in sampler.stills} == {"b.jpg", "c.jpg"}
    with pytest.raises(ValueError, match="no object left"):
        PairSampler(TrainingStore(folder), PairRules(), frozenset({"red", "blue", "a.jpg", "b.jpg", "c.jpg"}))


def test_a_batch_depends_on_seed_and_number_alone(folder: Path) -> None:
    def dataset(seed: int) -> BatchDataset:
        return BatchDataset(folder, TrainingConfig(held_out=(), batch_size=3, seed=seed), length=9)

    first, again, other = dataset(1), dataset(1), dataset(2)
    first[0]
    for one, two in zip(first[4], again[4], strict=True):
        assert one.equal(two)
    assert not first[4].search.equal(first[5].search)
    assert not first[4].search.equal(other[4].search)


def test_a_batch_holds_masks_at_positive_cells(folder: Path) -> None:
    batch = BatchDataset(folder, TrainingConfig(held_out=(), batch_size=4), length=1)[0]
    assert batch.classes.shape == (4, 5, 25, 25)
    assert batch.offsets.shape == (4, 4, 5, 25, 25)
    assert len(batch.cells) == len(batch.base) <= 16
    assert len(batch.fine_cells) == len(batch.fine) <= 8
    for sample, row, column in batch.cells.tolist():
        assert (batch.classes[sample, :, row, column] == 1).any()
    assert 0.02 < batch.base.float().mean() < 0.6


def test_looks() -> None:
    picture = np.arange(0, 240, dtype=np.uint8).reshape(8, 10, 3)
    assert np.array_equal(apply_look(picture, Look()), picture)
    assert apply_look(picture, Look(brightness=15.0))[0, 0].tolist() == [15, 16, 17]
    assert apply_look(picture, draw_look(np.random.default_rng(0), 0.0)).tolist() == picture.tolist()
    plain = grey(picture)
    assert np.array_equal(plain[..., 0], plain[..., 2])


def test_blur_keeps_the_mean() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for seed in range(6):
        blurred = blur(picture, np.random.default_rng(seed))
        assert blurred.mean() == pytest.approx(picture.mean(), abs=2)
        assert blurred.std() < picture.std()


def test_paste_replaces_what_is_covered() -> None:
    below, sprite = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)
    coverage = np.zeros((20, 20), np.uint8)
    coverage[5:15, 5:15] = 255
    out = paste(below, sprite, coverage)
    assert (out[7:13, 7:13] == 200).all()
    assert (out[:4] == 0).all()
    assert paste(below, sprite, np.zeros_like(coverage)) is below
