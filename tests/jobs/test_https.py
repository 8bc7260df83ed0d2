"""Videos on web servers, through the job: with their hosts named, and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions
from tests.conftest import ROOT
from tests.pipeline.storage.web_server import serve
from tests.pipeline.videos import make_video

SECRET = "q7SeCrEtOfTheQuery"


@pytest.mark.timeout(600)
def test_videos_of_named_hosts_are_tracked_and_queries_are_written_nowhere(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 6).read_bytes()
    with serve(tmp_path, {"v.mp4": video, "half.mp4": video}) as web, tempfile.TemporaryDirectory(prefix="h-") as ray:
        web.redirects = {"elsewhere.mp4": "https://169.254.169.254/latest/meta-data"}
        web.stalled = {"stalls.mp4"}
        web.cuts = {"half.mp4": 2}
        names = ["v", "half", "elsewhere", "stalls", "absent"]
        clips = [
            {"clip_id": name, "video_uri": f"{name}.mp4?token={SECRET}", "objects": [{"box": [0, 0, 16, 16]}]}
            for name in names
        ]
        web.files["m.jsonl"] = "".join(json.dumps(clip) + "\n" for clip in clips).encode()
        web.files["stalls.mp4"] = video
        arguments = ["--manifest", web.uri(f"m.jsonl?token={SECRET}"), "--output", str(tmp_path / "out")]
        done = subprocess.run(
            [sys.executable, str(ROOT / "jobs" / "segment.py"), *arguments, "--max-failed", "1"]
            + ["--http-hosts", f"example.org,localhost:{web.port}"],
            env={
                **os.environ,
                "RAY_TMPDIR": ray,
                "RAY_AUTH_MODE": "token",
                "SSL_CERT_FILE": str(web.certificate),
                "SIAMMASK_STORAGE_RETRY_S": "4",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        rows = {row["clip_id"]: row for row in pq.read_table(tmp_path / "out" / "clips").to_pylist()}
        errors = {name: (rows[name]["error_stage"], rows[name]["error_type"]) for name in names}
        fetch = {"elsewhere": "HostNotNamed", "stalls": "FetchError", "absent": "NotFound"}
        assert errors == {"v": (None, None), "half": (None, None), **{k: ("fetch", v) for k, v in fetch.items()}}
        assert rows["v"]["frames"] == rows["half"]["frames"] == 6
        assert "169.254.169.254" in rows["elsewhere"]["error_message"]
        assert rows["v"]["video_uri"] == "v.mp4?***"
        for folder in (tmp_path / "out", Path(ray)):
            holding = [
                path
                for path in folder.rglob("*")
                if path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()
            ]
            assert holding == []
        assert SECRET not in done.stdout + done.stderr


def test_without_hosts_nothing_is_asked(ray_local: None, tmp_path: Path) -> None:
    with serve(tmp_path, {}) as web:
        row = {"video_uri": web.uri(f"v.mp4?token={SECRET}"), "objects": [{"box": [0, 0, 16, 16]}]}
        (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
        for manifest in (str(tmp_path / "m.jsonl"), web.uri("m.jsonl")):
            with pytest.raises(UsageError, match="--http-hosts does not name the host localhost") as refused:
                run(SegmentOptions(manifest, str(tmp_path / "out")))
            assert SECRET not in str(refused.value)
        assert web.requests == []
