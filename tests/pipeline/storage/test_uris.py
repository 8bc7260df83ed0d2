"""URIs: what they resolve to, which are refused, and what is blanked in them."""

from __future__ import annotations

import pytest

from pipeline import storage
from pipeline.storage.redact import redact_text


@pytest.mark.parametrize(
    ("base", "relative", "expected"),
    [
        ("s3://bucket/set", "a.mp4", "s3://bucket/set/a.mp4"),
        ("s3://bucket/set/", "../clips/a b%20.mp4", "s3://bucket/clips/a b%20.mp4"),
        ("s3://bucket", "a.mp4", "s3://bucket/a.mp4"),
        ("s3://bucket/set", "s3://other/x?y=1#z", "s3://other/x?y=1#z"),
        ("s3://bucket/set", "/data/a.mp4", "/data/a.mp4"),
        ("gs://bucket/set", "../clips/a.mp4", "gs://bucket/clips/a.mp4"),
        ("https://Host:8443/set", "../clips/a%20b.mp4?v=2", "https://host:8443/clips/a%20b.mp4?v=2"),
        ("https://host", "a.mp4", "https://host/a.mp4"),
        ("s3://bucket/set", "https://host:443/a.mp4?x=1#t=3", "https://host/a.mp4?x=1"),
        ("/data/set", "a.mp4", "/data/set/a.mp4"),
        ("/data/set", "../a.mp4", "/data/a.mp4"),
        ("file:///data/my%20set", "a.mp4", "/data/my set/a.mp4"),
        ("/data/set", "concat:a.mp4|b.mp4", "/data/set/concat:a.mp4|b.mp4"),
    ],
)
def test_resolve(base: str, relative: str, expected: str) -> None:
    assert storage.resolve(base, relative) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "http://host/a.mp4",
        "https://",
        "https:///a.mp4",
        "https://user:secret@host/a.mp4",
        "https://host/a b.mp4",
        "ftp://host/a.mp4",
        "s3://",
        "s3:///key",
        "s3://key:secret@bucket/a",
        "file://host/a",
        "",
        "a\0b",
    ],
)
def test_other_uris_are_refused_by_name(uri: str) -> None:
    with pytest.raises(storage.StorageError) as refused:
        storage.resolve("/data", uri)
    assert storage.redact(uri) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(storage.StorageError, match=r"ftp://host/v.mp4.*s3://, gs://, https:// and local paths or file://"):
        storage.read_bytes("ftp://host/v.mp4")


def test_relative_uri_cannot_leave_the_bucket() -> None:
    with pytest.raises(storage.StorageError, match="leaves the bucket"):
        storage.resolve("s3://bucket/set", "../../other/key")


def test_signed_query_is_blanked() -> None:
    shown = storage.redact("https://h/v.mp4?X-Amz-Credential=AKIA1&X-Amz-Signature=abc&part=2")
    assert shown == "https://h/v.mp4?***"
    shown = storage.redact("s3://b/v.mp4?X-Amz-Credential=AKIA1&X-Amz-Signature=abc&part=2")
    assert shown == "s3://b/v.mp4?X-Amz-Credential=***&X-Amz-Signature=***&part=2"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://AKIA1:se/cr@et@bucket/key", "s3://***@bucket/key"),
        ("s3://AKIA1:se/cret/key", "s3://***"),
        ("https://user:secret@host:80/a", "https://***@host:80/a"),
        ("http://host:9000/bucket/a@b", "http://host:9000/bucket/a@b"),
        ("s3://bucket/a:b@c.mp4", "s3://bucket/a:b@c.mp4"),
        ("a.mp4?X-Amz-Signature=secret&part=2", "a.mp4?X-Amz-Signature=***&part=2"),
    ],
)
def test_secrets_are_blanked_wherever_they_stand(uri: str, shown: str) -> None:
    assert storage.redact(uri) == shown
    assert redact_text(f'no JSON: "{uri}", more') == f'no JSON: "{shown}", more'


@pytest.mark.parametrize("uri", ["s3://bucket/a.mp4", "/data/a.mp4", "a.mp4", "../a.mp4"])
@pytest.mark.parametrize("secret", ["X-Amz-Signature", "X-Amz-Credential", "x-goog-signature", "sig", "AWSAccessKeyId"])
@pytest.mark.parametrize("base", ["s3://bucket/set", "/data"])
def test_a_signed_uri_is_refused(base: str, uri: str, secret: str) -> None:
    """It would be written to the tables as it stands."""
    with pytest.raises(storage.StorageError, match="signed URI is a secret") as refused:
        storage.resolve(base, f"{uri}?part=2&{secret}=hunter2")
    assert "hunter2" not in str(refused.value)


def test_ordinary_questions_in_a_key_are_no_secret() -> None:
    assert (
        storage.resolve("s3://bucket", "s3://bucket/a.mp4?design=3&tokens=7") == "s3://bucket/a.mp4?design=3&tokens=7"
    )
