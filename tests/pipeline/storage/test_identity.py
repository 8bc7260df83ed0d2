"""One identity and endpoint for boto3 and pyarrow, wherever they come from."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from pipeline import storage
from tests.conftest import S3Store


@pytest.mark.parametrize("kind", ["keys", "process"])
def test_profile_serves_both_libraries(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """Endpoint and keys of a profile; pyarrow alone would not find the endpoint."""
    keys = {"Version": 1, "AccessKeyId": s3_store.access_key, "SecretAccessKey": s3_store.secret_key}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    source = {
        "keys": f"aws_access_key_id = {s3_store.access_key}\naws_secret_access_key = {s3_store.secret_key}\n",
        "process": f"credential_process = cat {tmp_path}/keys.json\n",
    }
    config = tmp_path / "config"
    config.write_text(f"[profile corpus]\nendpoint_url = {s3_store.endpoint}\nregion = us-east-1\n{source[kind]}")
    storage.write_bytes(s3_store.uri("storage/profile"), b"there")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "corpus")
    assert storage.read_bytes(s3_store.uri("storage/profile")) == b"there"
    filesystem, path = storage.filesystem_for(s3_store.uri("storage/profile"))
    assert filesystem.open_input_file(path).read() == b"there"
    assert s3_store.secret_key.encode() not in pickle.dumps(filesystem)


def test_an_assumed_role_reaches_arrow(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 assumes roles of profiles; pyarrow cannot, so it is given the keys that boto3 got."""
    from pipeline.storage import settings

    storage.write_bytes(s3_store.uri("storage/role"), b"there")
    client = settings.s3_client(storage.Settings(read_timeout_s=59))
    monkeypatch.setattr(client._request_signer._credentials, "method", "assume-role")
    monkeypatch.setattr(settings, "s3_client", lambda _: client)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    filesystem, path = storage.filesystem_for(s3_store.uri("storage/role"))
    assert filesystem.open_input_file(path).read() == b"there"


def test_environment_keys_are_not_pickled(s3_store: S3Store) -> None:
    filesystem, _ = storage.filesystem_for(s3_store.uri("x"))
    assert s3_store.secret_key.encode() not in pickle.dumps(filesystem)
