"""Judging by tracking, tuning and the file that is shipped."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.engine import Engine, TrackOutput
from model.network import SiamMask, SiamMaskConfig
from model.tracker import PRESETS
from model.training.data.tables import encode_rle
from model.training.evaluate import ClipSet, HeldOutClip, judge, load_clips, pasted, table, track
from model.training.tune import candidates, tune
from model.training.validate import held_out_sequences
from tests.model.training.clips import moving_square, perfect
from tests.model.training.pictures import small_set


def test_outputs_that_match_the_truth_score_one() -> None:
    clip = moving_square()
    result = judge(clip, [perfect(clip, index) for index in range(5)])
    assert result.j.mean > 0.95
    assert result.f.mean > 0.99
    # The first mask moved by 10, 20 and 30 of 40 px.
    assert result.still_j == pytest.approx(np.mean([30 / 50, 20 / 60, 10 / 70]))


def test_a_frame_where_the_track_is_lost_counts_as_it_should() -> None:
    clip = moving_square()
    outputs = [perfect(clip, index) for index in range(5)]
    outputs[2] = perfect(clip, 0)
    lost = judge(clip, outputs)
    whole = judge(clip, [perfect(clip, index) for index in range(5)])
    assert whole.j.mean - lost.j.mean == pytest.approx((1 - 20 / 60) / 3, abs=0.03)
    assert lost.j.recall == pytest.approx(2 / 3)


def test_a_mask_is_pasted_where_its_window_lies() -> None:
    clip = moving_square()
    mask = pasted(perfect(clip, 3), 120, 160)
    assert mask.shape == (120, 160)
    assert np.count_nonzero(mask ^ clip.truth[3]) < 100


def test_the_table_ends_with_the_mean() -> None:
    clip = moving_square()
    result = judge(clip, [perfect(clip, index) for index in range(5)])
    lines = table([result, result]).splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("| **mean** | ")
    assert lines[-1].split("|")[2] == lines[2].split("|")[2]


def test_tuning_tries_the_presets_first_and_judges_every_threshold() -> None:
    torch.manual_seed(0)
    tried = candidates(6)
    assert tried[:4] == [params for name, params in PRESETS.items() if name != "robust"]
    assert candidates(6) == tried
    clip = moving_square(3)
    model = SiamMask(SiamMaskConfig("resnet18", "three", False))
    assert model.box is not None
    torch.nn.init.zeros_(model.box.head[3].weight)  # an untrained box branch answers with boundless sizes
    trials = list(tune(model, [clip], tried[:1], thresholds=(0.3, 0.7), precision="fp32"))
    assert [trial.params.mask_threshold for trial in trials] == [0.3, 0.7]
    with Engine(model, trials[1].params) as engine:
        alone = judge(clip, track(engine, clip))
    assert trials[1].mean == pytest.approx(alone.j.mean)


def test_a_search_keeps_no_more_clips_in_memory_than_one_and_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("red", "blue", "dark", "bright")
    small_set(tmp_path, names, frames=4)
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def tracked(engine: Engine, clip: HeldOutClip) -> list[TrackOutput]:
        nonlocal most
        alive.append(weakref.ref(clip.frames))
        most = max(most, sum(frames() is not None for frames in alive))
        return [perfect(clip, index) for index in range(len(clip.frames))]

    monkeypatch.setattr("model.training.tune.track", tracked)
    model = SiamMask(SiamMaskConfig("resnet18", "three", False))
    trials = list(tune(model, ClipSet(tmp_path, "train", names), candidates(3), precision="fp32"))
    assert {tuple(trial.j) for trial in trials} == {tuple(sorted(names))}
    assert len(alive) == 3 * len(names)
    assert most <= 2


def test_a_set_both_ways_has_each_clip_backwards_too(tmp_path: Path) -> None:
    small_set(tmp_path, frames=4)
    forwards, backwards = ClipSet(tmp_path, "train", ("red",), both_ways=True)
    assert (forwards.name, backwards.name) == ("red", "red backwards")
    np.testing.assert_array_equal(backwards.frames[0], forwards.frames[-1])
    np.testing.assert_array_equal(backwards.truth, forwards.truth[::-1])
    x, y, w, h = map(int, backwards.box)
    inside = forwards.truth[-1][y : y + h, x : x + w]
    assert inside.sum() == forwards.truth[-1].sum()
    assert inside.any(axis=0).all()
    assert inside.any(axis=1).all()


def test_a_clip_without_an_init_box_starts_from_its_first_mask(tmp_path: Path) -> None:
    small_set(tmp_path, names=("red",))
    table = pq.read_table(tmp_path / "sequences.parquet")
    pq.write_table(table.drop_columns(["x", "y", "w", "h"]), tmp_path / "sequences.parquet")
    [clip] = list(load_clips(tmp_path, "train", ["red"]))
    assert clip.frames.shape == (5, 120, 160, 3)
    assert clip.box == (28.0, 44.0, 45.0, 33.0)
    with pytest.raises(ValueError, match="sequence still has 1 frames with masks; three are needed"):
        list(load_clips(tmp_path, "train", ["still"]))


def test_each_object_of_a_sequence_is_a_clip_of_its_own(tmp_path: Path) -> None:
    small_set(tmp_path, names=("red",), frames=6)
    rows = pq.read_table(tmp_path / "masks.parquet").to_pylist()
    disk = [row for row in rows if row["sequence"] == "red"]
    square = np.zeros((120, 160), np.uint8)
    square[10:30, 100:130] = 1
    for row in disk:  # a second object from frame 1 on, out of sight in frame 4, and a third in the last frame alone
        mask = square if row["frame_index"] != 4 else np.zeros_like(square)
        if row["frame_index"]:
            rows.append({**row, "object_id": "2", "mask": encode_rle(mask)})
        if row["frame_index"] == 5:
            rows.append({**row, "object_id": "3", "mask": encode_rle(square)})
    path = tmp_path / "masks.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    one, two = load_clips(tmp_path, "train", ["red"])
    assert (one.name, len(one.frames), one.box) == ("red 1", 6, (28.0, 44.0, 45.0, 33.0))
    assert (two.name, len(two.frames), two.box) == ("red 2", 5, (100.0, 10.0, 30.0, 20.0))
    assert [int(mask.sum()) for mask in two.truth] == [600, 600, 600, 0, 600]
    np.testing.assert_array_equal(two.frames[0], one.frames[1])


@pytest.mark.parametrize(
    ("frame", "mask", "message"),
    [
        (0, {"size": [120, 160], "counts": "0"}, "sequence red: the runs of a mask add up to 0 pixels"),
        (3, {"size": [120, 160], "counts": ""}, "sequence red, object 1: "),
        (3, encode_rle(np.ones((16, 12))), r"sequence red, object 1: a mask of \[16, 12\] in frames of \[120, 160\]"),
    ],
)
def test_an_unusable_mask_is_named(tmp_path: Path, frame: int, mask: dict, message: str) -> None:
    rewrite_masks(small_set(tmp_path, names=("red",)), {frame: mask})
    with pytest.raises(ValueError, match=message):
        list(load_clips(tmp_path, "train", ["red"]))


def test_the_init_box_of_the_row_is_that_of_the_first_frame(tmp_path: Path) -> None:
    small_set(tmp_path, names=("red",))
    table = pq.read_table(tmp_path / "sequences.parquet")
    place = table.schema.get_field_index("x")
    table = table.set_column(place, "x", pa.array([20.0] * len(table)))
    pq.write_table(table, tmp_path / "sequences.parquet")
    [clip] = load_clips(tmp_path, "train", ["red"])
    assert clip.box == (20.0, 44.0, 45.0, 33.0)
    rewrite_masks(tmp_path, {0: encode_rle(np.zeros((120, 160)))})
    [clip] = load_clips(tmp_path, "train", ["red"])
    assert (len(clip.frames), clip.box) == (4, (32.0, 44.0, 45.0, 33.0))


def rewrite_masks(folder: Path, masks: dict[int, dict]) -> None:
    """Give frames of the sequence red other masks."""
    path = folder / "masks.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        if row["sequence"] == "red":
            row["mask"] = masks.get(row["frame_index"], row["mask"])
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


def test_a_set_without_the_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no val sequence in "):
        list(load_clips(small_set(tmp_path), "val"))


def test_a_held_out_sequence_that_cannot_judge_is_named_before_training(tmp_path: Path) -> None:
    small_set(tmp_path, names=("red",))
    with pytest.raises(ValueError, match="held-out sequence still has 1 frames with masks; three are needed"):
        held_out_sequences([tmp_path], ["still"])


def test_held_out_sequences_are_found_in_any_of_the_sets(tmp_path: Path) -> None:
    one, two = small_set(tmp_path / "one", ("red",)), small_set(tmp_path / "two", ("blue",))
    assert held_out_sequences([one, two], ["blue"]) == [(two, "blue")]
    with pytest.raises(ValueError, match="no train sequence green to hold out in .*one, .*two"):
        held_out_sequences([one, two], ["blue", "green"])


def test_each_threshold_has_a_pass_of_its_own_with_two_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the box comes from the mask, so a threshold changes the track."""
    used: list[float] = []

    def tracked(engine: Engine, clip: HeldOutClip) -> list[TrackOutput]:
        used.append(engine.params.mask_threshold)
        return [perfect(clip, index) for index in range(len(clip.frames))]

    monkeypatch.setattr("model.training.tune.track", tracked)
    for variant, passes in (("three", [0.3]), ("two", [0.3, 0.7])):
        used.clear()
        model = SiamMask(SiamMaskConfig("resnet18", variant, False))
        list(tune(model, [moving_square()], candidates(1), thresholds=(0.3, 0.7), precision="fp32"))
        assert used == passes


@pytest.mark.shared
def test_an_unknown_sequence_is_named(shared: Path) -> None:
    with pytest.raises(ValueError, match="no val sequence nowhere"):
        list(load_clips(shared / "data" / "davis", "val", ["nowhere"]))
