"""The log of a whole job, read as a log shipper reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.demo.corpus import Corpus
from tests.conftest import ROOT
from tests.jobs.segment_runs import corpus, manifest_clips, weights, write_manifest

__all__ = ["corpus", "weights"]


@pytest.mark.slow
def test_every_line_of_a_job_is_json(corpus: Corpus, weights: str, tmp_path: Path) -> None:
    lost = {"clip_id": "not-there", "video_uri": "nothing.mp4", "objects": [{"box": [1, 1, 9, 9]}]}
    manifest = write_manifest(tmp_path / "m.jsonl", [manifest_clips(corpus)[0], lost])
    command = [sys.executable, "jobs/segment.py", "--manifest", manifest, "--output", str(tmp_path / "out")]
    environment = {**os.environ, "RAY_LOGGING_CONFIG_ENCODING": "JSON"}
    done = subprocess.run(
        [*command, "--weights", weights], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    errors, printed = ([json.loads(line) for line in text.splitlines()] for text in (done.stderr, done.stdout))
    messages = [record["message"] for record in errors]
    assert sum(message.startswith("run ") for message in messages) == 1
    assert "2/2 clips, 1 failed" in messages[-1] and errors[-1]["asctime"]
    assert printed[-1]["message"].startswith("2 clips: 1 ok, 0 partial, 1 failed; ")
    # An actor's line, which Ray passes on with a prefix.
    assert [record["clip_status"] for record in errors if record.get("clip_id") == "not-there"] == ["failed"]
