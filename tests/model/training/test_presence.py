"""Fitting presence: troubles hide what they say, and a fit finds what separates good rows from bad."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engine import Engine
from model.network import SiamMask, SiamMaskConfig
from model.tracker import PRESETS, TrackerParams
from model.tracker.presence import CUES, presence_of
from model.training.evaluate import HeldOutClip
from model.training.presence import record
from model.training.presence.fit import PlayedClip, cross_validate, fit_presence
from model.training.presence.record import record_presence
from model.training.presence.troubles import TROUBLES, troubled
from model.weights import load_weights
from model.weights.load import save_weights
from tests.model.training.clips import moving_square


def long_clip(frames: int = 24) -> HeldOutClip:
    clip = moving_square(5)
    places = np.minimum(np.arange(frames) // 5, 4)
    noise = np.random.default_rng(0).integers(0, 20, (frames, *clip.frames.shape[1:])).astype(np.uint8)
    return replace(clip, frames=clip.frames[places] - noise, truth=clip.truth[places])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_begins_after_the_start_and_truth_follows_the_picture(trouble: str) -> None:
    clip = long_clip()
    texture = np.random.default_rng(1).integers(0, 255, (3, 60, 90, 3)).astype(np.uint8)
    other = HeldOutClip("other", texture, np.zeros((3, 60, 90), bool), clip.box)
    made = troubled(clip, other, trouble, np.random.default_rng(2))
    assert made.name == f"square {trouble}" and len(made.frames) == len(made.truth)
    if trouble == "fast":
        assert len(made.frames) < len(clip.frames) / 2
        return
    assert np.array_equal(made.frames[:4], clip.frames[:4]) and np.array_equal(made.truth[:4], clip.truth[:4])
    gone = clip.truth & ~made.truth
    assert gone.any(axis=(1, 2)).sum() >= 5 and not (made.truth & ~clip.truth).any()
    for index in np.flatnonzero(gone.any(axis=(1, 2))):
        changed = (made.frames[index] != clip.frames[index]).any(axis=2)
        assert changed[gone[index]].mean() > 0.9, "what is hidden is painted over"
    assert np.array_equal(made.frames[made.truth], clip.frames[made.truth]), "what is to be seen is as it was"


def played(sequence: str, rng: np.random.Generator, *, rows: int = 200) -> PlayedClip:
    """Rows whose likeness and score fall where the mask misses."""
    missed = rng.random(rows) < 0.3
    cues = rng.normal(size=(rows, len(CUES)))
    cues[:, CUES.index("likeness")] -= 2.5 * missed
    cues[:, CUES.index("score")] -= 2.0 * missed
    return PlayedClip(sequence, cues, rng.random(rows), np.where(missed, 0.0, 0.8), is_troubled=True)


def test_a_fit_tells_other_sequences_rows_apart_and_is_calibrated() -> None:
    rng = np.random.default_rng(3)
    clips = [played(f"s{number}", rng) for number in range(6)]
    judged, blind = cross_validate(clips), cross_validate(clips, with_likeness=False)
    assert judged.auc > 0.95 and judged.calibration < 0.05 and judged.precision > 0.85
    assert judged.frames == 1200 and 250 < judged.missed < 450
    assert 0.85 < blind.auc < judged.auc
    fit = fit_presence(clips, with_likeness=False)
    assert fit.weights[CUES.index("likeness")] == fit.weights[CUES.index("slow_likeness")] == 0
    with pytest.raises(ValueError, match="do not show both"):
        fit_presence([replace(clip, iou=np.ones_like(clip.iou)) for clip in clips])


def test_the_fit_is_to_the_published_tracker_whatever_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cues of a track that is searched for have gaps."""
    weights = tmp_path / "a.safetensors"
    own = asdict(PRESETS["robust"])
    save_weights(weights, SiamMask(SiamMaskConfig("resnet18", "three", False)), metadata={"tracker": own})
    seen: list[TrackerParams] = []

    class Noted(Engine):
        def __init__(self, model: SiamMask, params: TrackerParams, **options: Any) -> None:
            seen.append(params)
            super().__init__(model, params, **options)

    monkeypatch.setattr(record, "Engine", Noted)
    monkeypatch.setattr(record, "sequence_rows", lambda folder, split: [])
    assert list(record.play_sequences(weights, tmp_path, "train")) == []
    assert seen == [replace(PRESETS["robust"], recovery=False, joint=False, mask_box=False)]


def test_a_fit_is_recorded_beside_what_the_file_says_already(tmp_path: Path) -> None:
    model = SiamMask(SiamMaskConfig("resnet18", "three", refine=False)).eval()
    save_weights(tmp_path / "a.safetensors", model, metadata={"name": "mine", "tracker": {"lr": 0.5}})
    fit = fit_presence([played("s", np.random.default_rng(4))])
    record_presence(tmp_path / "a.safetensors", tmp_path / "b.safetensors", fit)
    before, after = (load_weights(tmp_path / f"{name}.safetensors") for name in "ab")
    assert after.metadata == {**before.metadata, "presence": fit.to_dict()} and presence_of(after.metadata) == fit
    assert all((value == after.model.state_dict()[name]).all() for name, value in before.model.state_dict().items())
