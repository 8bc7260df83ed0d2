"""Workers of a node wait for the one that gets the data, longer than they wait for each other in training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys, time
from datetime import timedelta
import torch.distributed as dist
from model.training.workers import Workers
from pipeline.training.worker import got_by_one

rank, outcome, got = int(sys.argv[2]), sys.argv[3], []
dist.init_process_group(
    "gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2, timeout=timedelta(seconds=4)
)

def get():
    got.append(rank)
    if rank == 0:
        time.sleep(8)
        if outcome == "unusable":
            raise ValueError("clip.mp4: not a readable video")
        if outcome == "full":
            raise OSError("no space left on device")
    return f"data of {rank}"

try:
    print(got_by_one(get, first=rank == 0, workers=Workers.of_group()) + f", {len(got)} times")
except Exception as error:
    print(f"{type(error).__name__}: {error}, {len(got)} times")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("works", ["data of 0, 1 times", "data of 1, 1 times"]),
        (
            "unusable",
            ["Unusable: clip.mp4: not a readable video, 1 times", "Unusable: clip.mp4: not a readable video, 0 times"],
        ),
        (
            "full",
            [
                "OSError: no space left on device, 1 times",
                "RuntimeError: OSError: no space left on device, 0 times",
            ],
        ),
    ],
)
def test_the_others_wait_longer_than_the_timeout_of_the_group(tmp_path: Path, outcome: str, said: list[str]) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "meet")]
    running = [
        subprocess.Popen([*command, rank, outcome], cwd=ROOT, stdout=subprocess.PIPE, text=True) for rank in ("0", "1")
    ]
    try:
        assert [one.communicate(timeout=120)[0].strip() for one in running] == said
    finally:
        for one in running:
            one.kill()
            one.wait()
