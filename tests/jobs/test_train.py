"""Training on Ray: killed and resumed, one worker and two, local files and object storage."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.local.seaweed import S3Settings
from model.network import SiamMask, SiamMaskConfig
from model.training.config import TrainingConfig
from model.training.data.sources import all_pictures, find_sets
from model.training.data.training_store import write_store
from model.training.loop import train as train_alone
from model.training.options import Recipe
from model.weights import load_weights, save_weights
from pipeline import storage
from pipeline.errors import UsageError
from pipeline.training.run import train
from pipeline.training.worker import Task
from tests.conftest import S3Store
from tests.model.training.pictures import small_set
from tests.pipeline.training.uploads import upload

ROOT = Path(__file__).resolve().parents[2]
CURVE = ("step", "rate", "total", "score", "box", "mask", "fine")
RECIPE = Recipe(variant="two", refine=False, all_sequences=True, log_every=1)
JOB = "--variant two --no-refine --steps 6 --batch-size 4 --loaders 0 --log-every 1 --all-sequences --from-scratch"


def config(**changes: Any) -> TrainingConfig:
    length = {"steps": 6, "batch_size": 4, "workers": 0, "checkpoint_steps": 3}
    length |= {name: changes.pop(name) for name in length if name in changes}
    return replace(RECIPE, **changes).config(**length)


def curve(text: str, columns: tuple[str, ...] = CURVE) -> list[tuple[str, ...]]:
    """The rows of a run's losses without what the clock decides."""
    return [tuple(row[column] for column in columns) for row in csv.DictReader(text.splitlines())]


def task(settings: TrainingConfig, output: str, cache: Path, **changes: object) -> Task:
    common = {
        "config": settings.to_json(), "data": (), "store": None, "output": output, "split": "train", "stride": 1,
        "longest_side": 1280, "start": None, "backbone": None, "cache": str(cache), "cpus": 1, "device": "auto",
    }  # fmt: skip
    return Task(**{**common, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without Ray, on one thread."""
    folder = tmp_path_factory.mktemp("alone")
    write_store(all_pictures(find_sets([data])), folder / "store")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train_alone(config(), folder / "store", folder / "run", say=lambda _: None)
    torch.set_num_threads(threads)
    return folder


@pytest.mark.slow
def test_kill_9_and_the_same_command_again(data: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "jobs/train.py", *JOB.split(), "--checkpoint-every", "2", "--cpus-per-worker", "1"]
    command += ["--data", str(data), "--output", str(output), "--cache", str(tmp_path / "cache")]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    killed = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 150
    while not (output / "losses.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(30) == -signal.SIGKILL
    before = curve((output / "losses.csv").read_text())
    assert 2 <= len(before) < 6
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "step 6" in done.stdout
    assert curve((output / "losses.csv").read_text()) == curve((alone / "run" / "losses.csv").read_text())
    assert load_weights(output / "weights.safetensors").metadata["steps"] == 6
    assert (output / "losses.png").stat().st_size > 1000
    assert len(list((output / "tensorboard").glob("events*"))) >= 1


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_two_workers_match_one_with_data_and_output_in_object_storage(
    data: Path, alone: Path, tmp_path: Path, s3_store: S3Store, s3_settings: S3Settings
) -> None:
    uri, output = s3_store.uri("training/shapes"), s3_store.uri("training/out")
    upload(data, uri)
    settings = config(held_out=("blue",), all_sequences=False, validate_every=6)
    assert train(task(settings, output, tmp_path, data=(uri,)), settings, workers=2, max_failures=0) == 0
    two = curve(storage.read_bytes(storage.join(output, "losses.csv")).decode())
    one_settings = config(held_out=("blue",), all_sequences=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train_alone(one_settings, alone / "store", tmp_path / "one", say=lambda _: None)
    torch.set_num_threads(threads)
    one = curve((tmp_path / "one" / "losses.csv").read_text())
    assert len(one) == len(two) == 6
    for mine, theirs in zip(one, two, strict=True):
        assert float(mine[2]) == pytest.approx(float(theirs[2]), rel=0.05)
    [row] = list(csv.DictReader(storage.read_bytes(storage.join(output, "validation.csv")).decode().splitlines()))
    assert 0 <= float(row["j_blue"]) <= 1
    assert storage.exists(storage.join(output, "weights.safetensors"))
    assert storage.exists(storage.join(output, "best.safetensors"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_held_out_sequences_of_one_of_two_sets_in_object_storage(
    data: Path, tmp_path: Path, s3_store: S3Store, s3_settings: S3Settings
) -> None:
    sets = (data, small_set(tmp_path / "more", ("green",)))
    uris = tuple(upload(folder, s3_store.uri(f"two/{folder.name}")) for folder in sets)
    start = tmp_path / "start.safetensors"
    save_weights(start, SiamMask(SiamMaskConfig("resnet18", "two", False)), metadata={})
    settings = config(held_out=("blue",), all_sequences=False, validate_every=2, steps=2)
    asked = task(settings, str(tmp_path / "out"), tmp_path / "cache", data=uris, start=str(start))
    assert train(asked, settings, workers=1, max_failures=0) == 0
    [row] = list(csv.DictReader((tmp_path / "out" / "validation.csv").read_text().splitlines()))
    assert 0 <= float(row["j_blue"]) <= 1
    recorded = json.loads((tmp_path / "out" / "config.json").read_text())
    assert recorded == {**json.loads(settings.to_json()), "start": str(start), "backbone": None}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_data_that_cannot_be_used_is_said_once_and_does_not_hold_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = small_set(tmp_path / "shapes"), tmp_path / "out"
    bad = sorted((data / "red").glob("*"))[0]
    whole = bad.read_bytes()
    bad.write_bytes(b"no picture")
    settings = config(variant="three", steps=2)
    asked = task(settings, str(output), tmp_path / "cache", data=(str(data),))
    assert train(asked, settings, workers=2, max_failures=3) == 1
    # What Ray Train starts again ends with "training ended" and the kind of the last error.
    assert re.search(rf"^error: {bad}: not a readable image", capsys.readouterr().err, re.MULTILINE)
    assert not (output / "config.json").exists()
    bad.write_bytes(whole)
    settings = config(steps=2)
    asked = task(settings, str(output), tmp_path / "cache", data=(str(data),))
    assert train(asked, settings, workers=1, max_failures=0) == 0
    assert json.loads((output / "config.json").read_text())["network"]["variant"] == "two"


@pytest.mark.usefixtures("ray_local")
def test_a_refused_command_does_not_hold_its_output(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(batch_size: int) -> int:
        settings = config(batch_size=batch_size)
        chosen = task(settings, str(tmp_path / "out"), tmp_path, data=(str(data),))
        return train(chosen, settings, workers=2, max_failures=0)

    with pytest.raises(UsageError, match="--batch-size 7: 2 workers cannot share it"):
        asked(7)
    monkeypatch.setattr("pipeline.training.run._fit", lambda *_: 0)
    assert asked(8) == 0


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    ("changes", "workers", "message"),
    [
        ({}, 3, "--workers 3: each needs a CPU, the cluster has them for 2"),
        ({"cpus": 2}, 2, "--cpus-per-worker 2: the nodes have room for 1 such workers, not 2"),
        ({"device": "cuda"}, 1, "--device cuda: 1 workers need a GPU each, the cluster has 0"),
    ],
)
def test_workers_that_fit_nowhere_are_refused(
    data: Path, tmp_path: Path, changes: dict, workers: int, message: str
) -> None:
    asked = task(config(batch_size=12), str(tmp_path / "out"), tmp_path, data=(str(data),), **changes)
    with pytest.raises(UsageError, match=message):
        train(asked, config(batch_size=12), workers=workers, max_failures=0)


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("start", "start.safetensors", "holds the network .*three.*, this run trains .*two"),
        ("start", "bad.safetensors", "is no checkpoint"),
        ("backbone", "bad.npz", "is no readable .npz file"),
    ],
)
def test_weights_that_a_run_cannot_start_from(
    data: Path, tmp_path: Path, option: str, name: str, message: str
) -> None:
    path = tmp_path / name
    if name.startswith("bad"):
        path.write_bytes(b"no weights")
    else:
        save_weights(path, SiamMask(SiamMaskConfig("resnet18", "three", False)), metadata={})
    asked = task(config(), str(tmp_path / "out"), tmp_path / "cache", data=(str(data),), **{option: str(path)})
    with pytest.raises(UsageError, match=f"^--{option} {path}: {message}"):
        train(asked, config(), workers=1, max_failures=0)


def test_a_missing_held_out_sequence_is_named(data: Path, tmp_path: Path) -> None:
    settings = config(held_out=("blue", "black"), all_sequences=False, validate_every=2)
    asked = task(settings, str(tmp_path / "out"), tmp_path, data=(str(data),))
    with pytest.raises(UsageError, match="--held-out: no train sequence black to hold out"):
        train(asked, settings, workers=1, max_failures=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "give --data, or --store"),
        ({"data": ("/nowhere",)}, "--data /nowhere: no sequences.parquet"),
        ({"start": "/nowhere.safetensors"}, "--start /nowhere.safetensors: there is no such file"),
        ({"output": "s3://"}, "bucket's name"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    data: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    asked = {"data": (str(data),), "output": str(tmp_path / "out"), **changes}
    with pytest.raises(UsageError, match=message):
        train(task(config(), asked.pop("output"), tmp_path, **asked), config(), workers=1, max_failures=0)


def test_another_run_in_the_output_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    config(seed=5).write(tmp_path / "out" / "config.json")
    with pytest.raises(UsageError, match="holds a run with seed 5, this one has 1"):
        train(task(config(), str(tmp_path / "out"), tmp_path, data=(str(data),)), config(), workers=1, max_failures=0)


def test_a_bad_option_ends_with_status_2() -> None:
    options = "--data /nowhere --output out --stage third --from-scratch"
    command = [sys.executable, "jobs/train.py", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: stage 'third': expected one of joint, base, refine"
