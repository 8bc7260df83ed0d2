"""The weights file that is shipped and the card that tells of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.network import SiamMask, SiamMaskConfig
from model.tracker import PRESETS, TrackerParams, params_from_json
from model.tracker.params import robust
from model.training.__main__ import app
from model.training.config import TrainingConfig
from model.training.evaluate import judge, table
from model.training.release.bundle import run_settings, write_bundle
from model.training.release.card import render_card
from model.weights import load_weights, save_weights
from tests.model.training.clips import moving_square, perfect


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
    assert params_from_json(json.dumps(loaded.metadata["tracker"])) == robust(params)
    assert target.stat().st_size < 25_000_000


def test_the_card_has_the_table_the_licence_and_the_commands(tmp_path: Path) -> None:
    config = TrainingConfig(minutes=12, batch_size=8)
    config.write(tmp_path / "config.json")
    save_weights(tmp_path / "run.safetensors", SiamMask(config.network), metadata={"steps": 100})
    target = tmp_path / "bundle.safetensors"
    settings = run_settings(tmp_path)  # records no file that the run started from
    write_bundle(tmp_path / "run.safetensors", target, tracker=PRESETS["davis"], training=settings, figures={})
    clip = moving_square()
    results = [judge(clip, [perfect(clip, index) for index in range(5)])]
    metadata = load_weights(target).metadata
    text = render_card(metadata, results, target.stat().st_size)
    assert "model.training presence" not in text
    measured = render_card({**metadata, "presence": {}, "int8": {}}, results, 1)
    assert "model.training presence" in measured and measured.rstrip("`\n").endswith("--windows 32")
    judged = render_card({**metadata, "int8": {"lossless": True}}, results, 1)
    assert judged.rstrip("`\n").endswith("--windows 32 --lossless")
    assert table(results) in text
    assert "CC BY-NC 4.0" in text
    assert "--minutes 12 --batch-size 8" in text
    assert "100 steps (800 pairs)" in text
    assert "- From nothing;" in text
    assert "--from-scratch" in text
    assert "better on every sequence" in text


def test_the_card_tells_of_the_run_that_a_run_started_from(tmp_path: Path) -> None:
    first = TrainingConfig(minutes=12, batch_size=8, precision="bf16")
    pairs = replace(first.pairs, search_zoom=0.3, distractor_share=0.5)
    second = replace(
        first, steps=2600, batch_size=12, pairs=pairs, schedule="published", unfreeze_at=0.2, unfreeze_more=(0.4,),
        weights=replace(first.weights, dice=0.5, outline=2.0),
    )  # fmt: skip
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
    assert text.count("--dice-weight") == text.count("Dice term") == 1
    assert "--dice-weight 0.5 --outline-weight 2" in text
    assert "mask losses: a Dice term of 0.5, pixels beside the outline count 2 more; bfloat16" in text
    assert "bundle --run RUN2" in text


def test_the_card_of_a_run_that_started_from_a_bundle_says_how_that_was_made(tmp_path: Path) -> None:
    settings = json.loads(replace(TrainingConfig(), steps=30).to_json())
    model, tracker = SiamMask(TrainingConfig().network), PRESETS["davis"]
    start, target = None, tmp_path / "none"
    for number, origin in ((1, None), (2, "weights.safetensors"), (3, "half.safetensors")):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        save_weights(folder / "weights.safetensors", model, metadata={"steps": 30, "training": settings})
        (folder / "config.json").write_text(json.dumps({**settings, "start": origin, "backbone": None}))
        target = folder / "half.safetensors"
        write_bundle(
            folder / "weights.safetensors", target, tracker=tracker, training=run_settings(folder), figures={},
            start=start,
        )  # fmt: skip
        start = folder / ("weights.safetensors" if number == 1 else "half.safetensors")
    clip = moving_square()
    text = render_card(load_weights(target).metadata, [judge(clip, [perfect(clip, i) for i in range(5)])], 1)
    made = text.index(
        "bundle --run RUN2 --target RUN2/half.safetensors \\\n    --start RUN1/weights.safetensors\npython -m"
    )
    assert text.index("--out RUN2 \\\n    --start RUN1/weights.safetensors") < made
    assert made < text.index("--out RUN3 \\\n    --start RUN2/half.safetensors \\\n    --steps 30")
    assert "--card docs/model-card.md \\\n    --start RUN2/half.safetensors\n" in text


def test_the_card_of_other_weights_claims_nothing_of_the_bundled_ones(tmp_path: Path) -> None:
    model = SiamMask(TrainingConfig().network)
    first = replace(TrainingConfig(), steps=30, held_out=("red",), seed=4)
    for name, origin in (("one", {"start": "public.pth"}), ("two", {"start": "weights.safetensors"})):
        (tmp_path / name).mkdir()
        settings = {**json.loads(first.to_json()), "backbone": None, **origin}
        (tmp_path / name / "config.json").write_text(json.dumps(settings))
        metadata = {"steps": 30, "training": json.loads(first.to_json())}
        for file in ("weights.safetensors", "best.safetensors"):
            save_weights(tmp_path / name / file, model, metadata=metadata)
    target = tmp_path / "mine.safetensors"
    write_bundle(
        tmp_path / "two" / "weights.safetensors", target, tracker=PRESETS["davis"], figures={}, name="mine",
        training=run_settings(tmp_path / "two"), licence="mine alone", data="two videos of mine",
        start=tmp_path / "one" / "best.safetensors",
    )  # fmt: skip
    clip = moving_square()
    text = render_card(load_weights(target).metadata, [judge(clip, [perfect(clip, i) for i in range(5)])], 1)
    assert "\nmine alone.\n" in text
    assert "- Data: two videos of mine.\n" in text
    assert "- From earlier weights;" in text
    assert "--start public.pth" in text
    assert text.count("--held-out red --seed 4") == 2
    assert '--name mine \\\n    --licence "mine alone" \\\n    --data-note "two videos of mine"' in text
    for other in ("DAVIS-2016", "ImageNet", "EPYC", "were chosen on these", "bundled/", "shared/"):
        assert other not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "mine"], "--name mine: say with --licence and --data-note"),
        (["--card", "card.md"], "--card needs --davis"),
        ([], "none/config.json"),
    ],
)
def test_a_bundle_that_cannot_be_written_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    command = ["bundle", "--run", str(tmp_path / "none"), "--target", str(tmp_path / "x.safetensors"), *options]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert done.exit_code == 2
    assert message in done.output


def test_a_run_recorded_before_a_setting_was_there_has_its_default(tmp_path: Path) -> None:
    values = json.loads(TrainingConfig().to_json())
    del values["schedule"], values["unfreeze_more"]
    (tmp_path / "config.json").write_text(json.dumps({**values, "start": "a.safetensors"}))
    settings = run_settings(tmp_path)
    assert settings["schedule"] == "cosine"
    assert settings["start"] == "a.safetensors"
