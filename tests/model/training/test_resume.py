"""A run that is killed and started again has the loss curve of one that was not."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.training.config import TrainingConfig
from model.training.data.pairs import PairRules
from model.training.history import LOSSES, truncate
from model.training.loop import train
from model.weights import save_weights
from tests.model.training.pictures import small_store

ROOT = Path(__file__).resolve().parents[3]
CURVE = ("step", "rate", "total", "score", "box", "mask", "fine")
CONFIG = TrainingConfig(
    network=SiamMaskConfig("resnet18", "two", False),
    pairs=PairRules(search_shift=24),
    held_out=(),
    steps=6,
    batch_size=2,
    workers=0,
    unfreeze_at=0.5,
    log_steps=1,
    checkpoint_steps=2,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("store"))


def curve(folder: Path) -> list[tuple[str, ...]]:
    """The rows of a run's losses without what the clock decides."""
    with (folder / LOSSES).open() as file:
        return [tuple(row[column] for column in CURVE) for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["averaged"]


class Killed(Exception):
    pass


def test_a_run_cut_off_between_checkpoints_goes_on_as_if_it_was_not(store: Path, tmp_path: Path) -> None:
    train(CONFIG, store, tmp_path / "whole", say=lambda _: None)

    def cut_off(line: str) -> None:
        if line.startswith("step=5 "):  # a step after the checkpoint of step 4
            raise Killed

    with pytest.raises(Killed):
        train(CONFIG, store, tmp_path / "cut", say=cut_off)
    assert len(curve(tmp_path / "cut")) == 5
    train(CONFIG, store, tmp_path / "cut", say=lambda _: None)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(cut[name], value) for name, value in whole.items())


def test_a_finished_run_is_left_alone(store: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1)
    train(config, store, tmp_path, say=lambda _: None)
    written = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    train(config, store, tmp_path, say=lambda _: None)
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == written


def test_another_run_in_the_same_folder_is_refused(store: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), store, tmp_path, say=lambda _: None)
    with pytest.raises(ValueError, match="holds a run with seed 1, this one has 2"):
        train(replace(CONFIG, steps=1, seed=2), store, tmp_path)
    with pytest.raises(ValueError, match="holds a run with batch_size 2, this one has 4"):
        train(replace(CONFIG, steps=1, batch_size=4), store, tmp_path)
    with pytest.raises(ValueError, match=r"holds a run with unfreeze_more \[\], this one has \[0.5\]"):
        train(replace(CONFIG, steps=1, unfreeze_more=(0.5,)), store, tmp_path)
    with pytest.raises(ValueError, match=r"holds a run with held_out \[.*\], this one has \['red'\]"):
        train(replace(CONFIG, steps=1, held_out=("red",)), store, tmp_path)


def test_a_run_goes_on_though_its_record_is_older_or_in_another_order(store: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1, held_out=("red", "blue"))
    before = json.loads(config.to_json())
    del before["unfreeze_more"], before["weights"]["box"], before["pairs"]["grey_share"]
    replace(config, held_out=("blue", "red")).check_resumes(json.dumps({**before, "start": None}), "here")
    with pytest.raises(ValueError, match="here holds a run with held_out .'blue', 'red'., this one has .'red'."):
        replace(config, held_out=("red",)).check_resumes(json.dumps(before), "here")


def test_another_origin_in_the_same_folder_is_refused(store: Path, tmp_path: Path) -> None:
    first, other = tmp_path / "first.safetensors", tmp_path / "other.safetensors"
    for path in (first, other):
        save_weights(path, SiamMask(CONFIG.network), metadata={})
    config = replace(CONFIG, steps=1)
    train(config, store, tmp_path / "out", start=first, say=lambda _: None)
    shutil.copy(first, tmp_path / "out" / "first.safetensors")
    train(config, store, tmp_path / "out", start=tmp_path / "out" / "first.safetensors", say=lambda _: None)
    for start in (other, None):
        with pytest.raises(ValueError, match="holds a run with start first.safetensors, this one has (other|None)"):
            train(config, store, tmp_path / "out", start=start, say=lambda _: None)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["start"] == "first.safetensors"


def test_rows_after_the_checkpoint_and_a_line_cut_short_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("step,total\n20,1.5\n40,1.25\n60,1.125\n80,1.")
    truncate(path, 40)
    assert path.read_text().split() == ["step,total", "20,1.5", "40,1.25"]
    truncate(path, 0)
    assert not path.exists()


def test_validation_by_tracking_keeps_the_best_weights(store: Path, tmp_path: Path) -> None:
    scores = iter([0.5, 0.7, 0.6])

    def validate(model: SiamMask) -> dict[str, float]:
        assert not model.training
        return {"j": next(scores)}

    config = replace(CONFIG, validate_steps=2, checkpoint_steps=100)
    train(config, store, tmp_path, validate=validate, say=lambda _: None)
    rows = list(csv.DictReader((tmp_path / "validation.csv").open()))
    assert [(row["step"], row["j"]) for row in rows] == [("2", "0.5"), ("4", "0.7"), ("6", "0.6")]
    from model.weights import load_weights

    assert load_weights(tmp_path / "best.safetensors").metadata["steps"] == 4
    assert load_weights(tmp_path / "weights.safetensors").metadata["steps"] == 6
    assert (tmp_path / "tensorboard").is_dir()


@pytest.mark.slow
def test_kill_9_and_the_same_command_again(store: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        options = f"--steps 8 --batch-size 2 --workers 0 --variant two --no-refine --all-sequences --unfreeze-at 0.5 \
            --from-scratch --log-every 1 --checkpoint-minutes 0.0001 --store {store} --out {out}"
        return [sys.executable, "-m", "model.training", "train", *options.split()]

    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run(command(tmp_path / "whole"), cwd=ROOT, env=environment, check=True, timeout=200)
    killed = subprocess.Popen(command(tmp_path / "cut"), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith("step=4 "):
            break
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(30) == -signal.SIGKILL
    killed.stdout.close()
    time.sleep(0.1)
    subprocess.run(command(tmp_path / "cut"), cwd=ROOT, env=environment, check=True, timeout=200)
    assert [row[0] for row in curve(tmp_path / "cut")] == [str(step) for step in range(1, 9)]
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
