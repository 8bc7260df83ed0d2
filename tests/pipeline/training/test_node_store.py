"""The store of a node: decoded once, told of, and nothing left of a process that was killed over it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from model.training.data.training_store import TrainingStore
from pipeline.training.node_store import node_store
from tests.model.training.pictures import small_set

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"split": "train", "stride": 1, "longest_side": 0}
KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.training.node_store import node_store

def say(line):
    if line == "decoding shapes: 2/3":
        os.kill(os.getpid(), signal.SIGKILL)

node_store([sys.argv[1]], Path(sys.argv[2]), split="train", stride=1, longest_side=0, say=say)
"""


def test_decoding_is_told_of_and_done_once(tmp_path: Path) -> None:
    said: list[str] = []
    data = str(small_set(tmp_path / "shapes"))
    folder = node_store([data], tmp_path / "cache", **OPTIONS, say=said.append)
    assert said == [
        f"decoding shapes into {folder}",
        *(f"decoding shapes: {number}/3" for number in (1, 2, 3)),
        "11 pictures with 11 objects",
    ]
    assert len(TrainingStore(folder)) == 11
    assert node_store([data], tmp_path / "cache", **OPTIONS, say=said.append) == folder
    assert len(said) == 5


def test_changed_tables_are_decoded_anew(tmp_path: Path) -> None:
    data = str(small_set(tmp_path / "shapes"))
    before = node_store([data], tmp_path / "cache", **OPTIONS, say=lambda _: None)
    small_set(tmp_path / "shapes", ("red",))
    after = node_store([data], tmp_path / "cache", **OPTIONS, say=lambda _: None)
    assert after != before and len(TrainingStore(after)) == 6


def test_what_a_killed_process_had_decoded_is_removed_by_the_next(tmp_path: Path) -> None:
    data, cache = small_set(tmp_path / "shapes"), tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(data), str(cache)], cwd=ROOT, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(cache.glob("scratch/*/store/pictures.bin"))) == 1 and not list(cache.glob("stores/*"))
    folder = node_store([str(data)], cache, **OPTIONS, say=lambda _: None)
    assert len(TrainingStore(folder)) == 11
    assert list(cache.glob("scratch/*")) == []
