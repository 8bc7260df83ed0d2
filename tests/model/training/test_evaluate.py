"""Judging by tracking, tuning and the file that is shipped."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from model.engine import Engine, TrackOutput
from model.network import SiamMask, SiamMaskConfig
from model.tracker import PRESETS, TrackerParams, params_from_json
from model.training.bundle import run_settings, write_bundle
from model.training.card import render_card
from model.training.config import TrainingConfig
from model.training.evaluate import Clip, ClipSet, judge, load_clips, pasted, table, track
from model.training.tune import candidates, tune
from model.training.validate import held_out_sequences
from model.weights import load_weights, save_weights
from tests.model.training.pictures import small_set


def moving_square(frames: int = 5) -> Clip:
    truth = np.zeros((frames, 120, 160), bool)
    for index in range(frames):
        truth[index, 40:80, 30 + 10 * index : 70 + 10 * index] = True
    pictures = np.where(truth[..., None], np.uint8(220), np.uint8(30)).repeat(3, axis=-1)
    return Clip("square", pictures, truth, (30.0, 40.0, 40.0, 40.0))


def perfect(clip: Clip, index: int) -> TrackOutput:
    """An output whose mask is the truth, given as a square of the frame about it."""
    columns = np.flatnonzero(clip.truth[index].any(axis=0))
    probability = np.zeros((127, 127), np.float32)
    probability[40:80, 40:80] = 0.9
    window = (float(columns[0] - 40), 0.0, 127.0, 127.0)
    return TrackOutput(1.0, np.array([columns[0], 40.0, 40, 40]), probability, window, 0.5)


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
    assert tried[:4] == list(PRESETS.values())
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

    def tracked(engine: Engine, clip: Clip) -> list[TrackOutput]:
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


def test_a_bundle_carries_tracker_licence_and_figures(tmp_path: Path) -> None:
    model = SiamMask(SiamMaskConfig("resnet18", "three", True))
    save_weights(tmp_path / "run.safetensors", model, metadata={"steps": 7})
    params = TrackerParams(penalty_k=0.1, window_influence=0.3, lr=0.5, mask_threshold=0.45)
    target = tmp_path / "bundle.safetensors"
    write_bundle(tmp_path / "run.safetensors", target, tracker=params, training={"seed": 1}, figures={"j": 0.5})
    loaded = load_weights(target)
    assert loaded.metadata["name"] == "siammask-r18"
    assert "CC BY-NC 4.0" in loaded.metadata["licence"]
    assert loaded.metadata["steps"] == 7
    assert params_from_json(json.dumps(loaded.metadata["tracker"])) == params
    assert target.stat().st_size < 25_000_000


def test_the_card_has_the_table_the_licence_and_the_commands(tmp_path: Path) -> None:
    config = TrainingConfig(minutes=12, batch_size=8)
    config.write(tmp_path / "config.json")
    save_weights(tmp_path / "run.safetensors", SiamMask(config.network), metadata={"steps": 100})
    target = tmp_path / "bundle.safetensors"
    settings = run_settings(tmp_path)
    write_bundle(tmp_path / "run.safetensors", target, tracker=PRESETS["davis"], training=settings, figures={})
    clip = moving_square()
    results = [judge(clip, [perfect(clip, index) for index in range(5)])]
    text = render_card(load_weights(target).metadata, results, target.stat().st_size)
    assert table(results) in text
    assert "CC BY-NC 4.0" in text
    assert "--minutes 12 --batch-size 8" in text
    assert "100 steps (800 pairs)" in text
    assert "better on every sequence" in text


def test_the_card_tells_of_the_run_that_a_run_started_from(tmp_path: Path) -> None:
    first = TrainingConfig(minutes=12, batch_size=8)
    pairs = replace(first.pairs, search_zoom=0.3, distractor_share=0.5)
    second = replace(
        first, steps=2600, batch_size=12, pairs=pairs, schedule="published", unfreeze_at=0.2, unfreeze_more=(0.4,)
    )
    model = SiamMask(first.network)
    metadata = {"steps": 100, "training": json.loads(first.to_json())}
    save_weights(tmp_path / "first.safetensors", model, metadata=metadata)
    save_weights(tmp_path / "weights.safetensors", model, metadata={"steps": 2600})
    second.write(tmp_path / "config.json")
    target = tmp_path / "bundle.safetensors"
    write_bundle(
        tmp_path / "weights.safetensors", target, tracker=PRESETS["davis"], training=run_settings(tmp_path), figures={},
        start=tmp_path / "first.safetensors",
    )  # fmt: skip
    clip = moving_square()
    results = [judge(clip, [perfect(clip, index) for index in range(5)])]
    text = render_card(load_weights(target).metadata, results, target.stat().st_size)
    assert "Run 1: AdamW, batches of 8 pairs" in text
    assert "Run 2: SGD with the published rates, batches of 12 pairs" in text
    assert "decay over 2600 steps (31200 pairs)" in text
    assert "--minutes 12 --batch-size 8" in text
    assert "--out RUN2 \\\n    --start RUN1/weights.safetensors \\\n    --steps 2600 --batch-size 12" in text
    assert "--search-zoom 0.3 --distractors 0.5" in text
    assert "--unfreeze-at 0.2" in text
    assert "--unfreeze-more 0.4" in text
    assert "stage 4 from 15% of the run on.\n" in text
    assert "stage 4 from 20% of the run on and stage 3 from 40% of the run on." in text
    assert "--schedule published" in text
    assert "bundle --run RUN2" in text


def test_a_run_recorded_before_a_setting_was_there_has_its_default(tmp_path: Path) -> None:
    values = json.loads(TrainingConfig().to_json())
    del values["schedule"], values["unfreeze_more"]
    (tmp_path / "config.json").write_text(json.dumps({**values, "start": "a.safetensors"}))
    settings = run_settings(tmp_path)
    assert settings["schedule"] == "cosine"
    assert settings["start"] == "a.safetensors"


def test_a_clip_without_an_init_box_starts_from_its_first_mask(tmp_path: Path) -> None:
    small_set(tmp_path, names=("red",))
    table = pq.read_table(tmp_path / "sequences.parquet")
    pq.write_table(table.drop_columns(["x", "y", "w", "h"]), tmp_path / "sequences.parquet")
    [clip] = list(load_clips(tmp_path, "train", ["red"]))
    assert clip.frames.shape == (5, 120, 160, 3)
    assert clip.box == (28.0, 44.0, 45.0, 33.0)
    with pytest.raises(ValueError, match="sequence still has 1 frames with masks, not 3"):
        list(load_clips(tmp_path, "train", ["still"]))


def test_held_out_sequences_are_found_in_any_of_the_sets(tmp_path: Path) -> None:
    one, two = small_set(tmp_path / "one", ("red",)), small_set(tmp_path / "two", ("blue",))
    assert held_out_sequences([one, two], ["blue"]) == [(two, "blue")]
    with pytest.raises(ValueError, match="no train sequence green to hold out in .*one, .*two"):
        held_out_sequences([one, two], ["blue", "green"])


def test_each_threshold_has_a_pass_of_its_own_with_two_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the box comes from the mask, so a threshold changes the track."""
    used: list[float] = []

    def tracked(engine: Engine, clip: Clip) -> list[TrackOutput]:
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
