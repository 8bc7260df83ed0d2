"""`python -m model.training`: what it refuses, in one sentence, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.training.__main__ import app
from tests.model.training.pictures import small_set, small_store


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "nothing to start from: give --backbone or --start, or --from-scratch for random weights"),
        ("--resnet 50", "nothing to start from: give --start, or --from-scratch"),
        ("--resnet 50 --backbone r50.pth", "--backbone is of ResNet-18; a ResNet-50 starts from a checkpoint"),
        ("--stage refine --from-scratch", "--stage refine trains a refinement for the weights of --start"),
        ("--from-scratch --start a.safetensors", "give one of --backbone, --start and --from-scratch"),
        ("--backbone r18.pth --start a.safetensors", "give one of --backbone, --start and --from-scratch"),
        ("--from-scratch --all-sequences --validate-every 5", "--validate-every tracks the held-out sequences"),
        ("--from-scratch --held-out none --validate-every 5 --davis {set}", "no train sequence none to hold out in"),
        ("--from-scratch --held-out still --validate-every 5 --davis {set}", "held-out sequence still has 1 frames"),
        ("--from-scratch --store {none}", "no training store in"),
        ("--from-scratch --held-out red --held-out blue {stills}", "the training store has no object left to train on"),
    ],
)
def test_a_run_that_cannot_train_is_refused(tmp_path: Path, options: str, message: str) -> None:
    small_set(tmp_path / "set")
    stills = " ".join(f"--held-out {name}.jpg" for name in "abc")
    options = options.format(set=tmp_path / "set", none=tmp_path / "none", stills=stills)
    command = f"train --store {small_store(tmp_path / 'store')} --out {tmp_path / 'out'} --steps 2 {options}"
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command.split())
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("prepare --data {set} --store {out} --split trian", "error: no trian sequence in"),
        ("evaluate --weights {none} --davis {set}", "none: cannot be read"),
        ("tune --weights {none} --davis {set} --out {out}", "none: cannot be read"),
    ],
)
def test_an_unusable_input_is_named(tmp_path: Path, command: str, message: str) -> None:
    small_set(tmp_path / "set")
    places = {"set": tmp_path / "set", "out": tmp_path / "out", "none": tmp_path / "none"}
    done = CliRunner().invoke(app, command.format(**places).split())
    assert done.exit_code == 2
    assert message in done.output
