"""Secrets reach no log, no table, no report and no message: real jobs with distinctive credentials, then a search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import seaweed
from pipeline import storage
from pipeline.demo.corpus import write_corpus
from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions
from tests.conftest import ROOT, S3Store

WRONG = "hunter2-WrOnG-Secret/With+Slashes"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short path, for Ray's sockets; its session logs go there."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        yield Path(folder)


def _job(arguments: list[str], scratch: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The job as a process, with a Ray of its own that writes its session below `scratch`."""
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "segment.py"), *arguments],
        env={**os.environ, "RAY_TMPDIR": str(scratch), "RAY_AUTH_MODE": "token", **more},
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=280,
    )


def _holding(secret: bytes, folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and secret in path.read_bytes()
    ]


@pytest.mark.slow
def test_a_job_that_uses_credentials_writes_them_nowhere(s3_store: S3Store, scratch: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    clips = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    for path in corpus.videos:
        storage.upload_file(path, s3_store.uri(f"secret/{path.relative_to(corpus.manifest.parent)}"))
    good = {**clips[0], "end_frame": 3}
    lines = [
        good,
        {**good, "clip_id": "absent", "video_uri": "absent.mp4"},
        {**good, "clip_id": "no-bucket", "video_uri": "s3://no-such-bucket/a.mp4"},
    ]
    storage.write_bytes(s3_store.uri("secret/m.jsonl"), "".join(json.dumps(line) + "\n" for line in lines).encode())
    output = s3_store.uri("secret/out")
    done = _job(["--manifest", s3_store.uri("secret/m.jsonl"), "--output", output, "--max-failed", "1"], scratch)
    assert done.returncode == 0, done.stderr
    assert "3 clips: 1 ok, 0 partial, 2 failed" in done.stdout
    copy = tmp_path / "copy"
    for entry in storage.list_files(output):
        target = copy / entry.uri.removeprefix(output + "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.download(entry.uri, target)
    assert {path.name for path in copy.glob("_runs/*/*")} >= {"report.json", "report.html", "config.json"}
    logs = list(scratch.glob("**/session_*/logs/*"))
    assert len(logs) > 5, "Ray's session logs are searched too"
    secret = s3_store.secret_key
    assert secret not in done.stdout + done.stderr
    assert "botocore" not in done.stdout + done.stderr and "Found credentials" not in done.stderr
    assert _holding(secret.encode(), copy) == []
    assert _holding(secret.encode(), scratch) == []


@pytest.mark.parametrize("where", ["output", "manifest", "weights"])
def test_refused_credentials_are_not_shown(s3_store: S3Store, scratch: Path, tmp_path: Path, where: str) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"video_uri": "v.mp4", "objects": [{"box": [1, 2, 3, 4]}]}\n')
    given = {"manifest": str(manifest), "output": str(tmp_path / "out"), where: s3_store.uri("denied")}
    arguments = [word for name, value in given.items() for word in (f"--{name}", value)]
    done = _job(arguments, scratch, AWS_SECRET_ACCESS_KEY=WRONG)
    assert done.returncode == 2, done.stderr
    assert s3_store.uri("denied") in done.stderr and "AWS_ACCESS_KEY_ID" in done.stderr
    assert WRONG not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert _holding(WRONG.encode(), scratch) == [] and _holding(WRONG.encode(), tmp_path) == []


SECRET_URIS = [
    "s3://AKIAEXAMPLE:hunter2@bucket/a.mp4",
    "s3://AKIAEXAMPLE:hun/ter2@bucket/a.mp4",
    "https://user:hunter2@host/a.mp4",
    "https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature=hunter2",
    "s3://bucket/a.mp4?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature=hunter2",
    "a.mp4?X-Amz-Security-Token=hunter2",
]


@pytest.mark.parametrize("where", ["video_uri", "broken line", "manifest", "output", "weights"])
def test_secrets_inside_uris_are_refused_and_blanked(
    ray_local: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    manifest, output = tmp_path / "m.jsonl", tmp_path / "out"
    row = '{{"video_uri": "{uri}", "objects": [{{"box": [1, 2, 3, 4]}}]}}\n'
    plain = row.format(uri="v.mp4")
    uris = [uri for uri in SECRET_URIS if where != "weights" or "://" in uri]
    texts = {"video_uri": [row], "broken line": [row[:-3] + "\n"]}.get(where, [plain] * len(uris))
    tries = [uris] if where in ("video_uri", "broken line") else [[uri] for uri in uris]
    for some in tries:
        manifest.write_text("".join(texts[0].format(uri=uri) for uri in some) if len(texts) == 1 else plain)
        given = {"manifest": str(manifest), "output": str(output)}
        if where in ("manifest", "output", "weights"):
            given[where] = some[0]
        with pytest.raises(UsageError) as refused:
            run(SegmentOptions(**given))
        shown = str(refused.value) + caplog.text + "".join(capfd.readouterr())
        for secret in ("hunter2", "hun/ter2", "ter2@"):
            assert secret not in shown
        if where == "video_uri":
            assert [f"m.jsonl:{i} video_uri" in shown for i in range(1, len(uris) + 1)] == [True] * len(uris)
        else:
            assert "***" in shown
    assert not (output / "_runs").exists()


def test_the_password_of_the_store_is_as_distinctive_as_it_must_be(s3_settings: seaweed.S3Settings) -> None:
    """A word that is found everywhere, or nowhere by its shortness, would make the searches above worthless."""
    assert len(s3_settings.environment()["AWS_SECRET_ACCESS_KEY"]) >= 20
