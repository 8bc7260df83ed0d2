"""The search on Ray Tune finds what the search in one process finds."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.training.evaluate import ClipSet
from model.training.tune import THRESHOLDS, candidates
from model.training.tune import tune as tune_alone
from model.weights import load_weights, save_weights
from pipeline.errors import UsageError
from pipeline.training.options import TuneOptions
from pipeline.training.tune import tune
from tests.model.training.pictures import small_set

ROOT = Path(__file__).resolve().parents[2]


def search(tmp_path: Path, weights: Path, data: Path) -> TuneOptions:
    return TuneOptions(
        weights=str(weights), data=str(data), output=str(tmp_path / "out"), sequence=("blue", "red"), both_ways=True,
        trials=3, precision="fp32", cache=str(tmp_path / "cache"), cpus_per_trial=1,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_trials_side_by_side_give_the_result_of_one_process(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet18", "three", False))
    assert model.box is not None
    torch.nn.init.zeros_(model.box.head[3].weight)  # an untrained box branch answers with boundless sizes
    weights, data = tmp_path / "w.safetensors", small_set(tmp_path / "set", frames=4)
    save_weights(weights, model, metadata={})
    assert tune(search(tmp_path, weights, data)) == 0
    with (tmp_path / "out" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    clips = ClipSet(data, "train", ("blue", "red"), both_ways=True)
    wanted = list(tune_alone(load_weights(weights).model, clips, candidates(3), precision="fp32"))
    assert len(rows) == len(wanted) == 3 * len(THRESHOLDS)
    for row, trial in zip(rows, wanted, strict=True):
        assert row["params"] == trial.params.to_json()
        assert float(row["j"]) == pytest.approx(trial.mean, abs=1e-4)
    best = max(wanted, key=lambda trial: trial.mean)
    assert (tmp_path / "out" / "tracker.json").read_text() == best.params.to_json() + "\n"


@pytest.mark.slow
def test_an_interrupted_search_ends_with_status_130_and_writes_nothing(tmp_path: Path) -> None:
    weights, data = tmp_path / "w.safetensors", small_set(tmp_path / "set", frames=4)
    save_weights(weights, SiamMask(SiamMaskConfig("resnet18", "three", False)), metadata={})
    command = [sys.executable, "jobs/tune.py", "--weights", str(weights), "--data", str(data)]
    command += ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--sequence", "red"]
    command += ["--trials", "200", "--cpus-per-trial", "1"]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    job = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert job.stderr is not None
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("cache/scratch/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode == 130, errors.decode()
    assert "SIGINT: ended, nothing written" in errors.decode()
    assert not list((tmp_path / "out").glob("*.*"))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.safetensors: there is no such file"):
        tune(search(tmp_path, tmp_path / "none.safetensors", small_set(tmp_path / "set")))


def test_a_missing_sequence_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    asked = search(tmp_path, weights, small_set(tmp_path / "set", ("red",)))
    with pytest.raises(UsageError, match="--sequence: no train sequence blue"):
        tune(asked)
