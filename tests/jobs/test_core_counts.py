"""The job ends at any number of cores: claims that cannot be met together would hang it for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline.videos import make_video

SCRIPT = """
import json, sys
import ray
from benchmarks.null_model import build_null_engine
from pipeline.plan.options import ActorCount, SegmentOptions
from pipeline.driver.run import run

cores, actors, manifest, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
ray.init(address="local", num_cpus=cores, num_gpus=0, include_dashboard=False, _node_ip_address="127.0.0.1",
         object_store_memory=200 * 2**20)
options = SegmentOptions(manifest=manifest, output=output, actors=ActorCount(actors, actors), clips_per_file=1)
sys.exit(run(options, build_engine=build_null_engine))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("cores", "actors"), [(1, 1), (1, 2), (3, 2)])
def test_a_run_ends_on_few_cores(tmp_path: Path, cores: int, actors: int) -> None:
    make_video(tmp_path / "v.mp4", 12, width=96, height=64)
    row = '{{"clip_id": "c{0}", "video_uri": "v.mp4", "objects": [{{"box": [10, 10, 20, 20]}}]}}\n'
    (tmp_path / "m.jsonl").write_text("".join(row.format(i) for i in range(6)))
    command = [sys.executable, "-c", SCRIPT, str(cores), str(actors), str(tmp_path / "m.jsonl"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "6 clips: 6 ok" in done.stdout
