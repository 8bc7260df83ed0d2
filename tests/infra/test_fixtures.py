"""The local S3 server refuses strangers, and Ray's workers reach it with the settings of the session."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local import seaweed
from infra.local.cluster import made_of
from tests.conftest import S3Store


def test_credentials_are_required(s3_store: S3Store) -> None:
    stranger = boto3.client(
        "s3", endpoint_url=s3_store.endpoint, aws_access_key_id="siammask", aws_secret_access_key="wrong"
    )
    with pytest.raises(ClientError) as refused:
        stranger.list_objects_v2(Bucket=s3_store.bucket)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_workers_reach_the_store(s3_store: S3Store, ray_local: None) -> None:
    import ray

    @ray.remote(num_cpus=0)
    def write(bucket: str) -> None:
        boto3.client("s3").put_object(Bucket=bucket, Key="fixture/hello", Body=b"there")

    ray.get(write.remote(s3_store.bucket))
    body = boto3.client("s3").get_object(Bucket=s3_store.bucket, Key="fixture/hello")["Body"].read()
    assert body == b"there"
    assert s3_store.uri("fixture/hello") == f"s3://{s3_store.bucket}/fixture/hello"


def test_a_second_store_keeps_its_own_secret(
    s3_settings: seaweed.S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first store's credentials are in this process's environment, under the same access key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_settings.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_settings.secret_key)
    settings = seaweed.S3Settings(port=seaweed.free_port_block())
    assert settings.secret_key != s3_settings.secret_key
    with seaweed.start(settings, tmp_path, timeout_s=30):
        pass


def test_a_cluster_here_says_what_it_is_made_of() -> None:
    assert made_of().startswith("Ray 2.60.0 and SeaweedFS 4.") and made_of().endswith("no container, no GPU")
