"""The one place where S3 clients are made: boto3 and pyarrow see the same store with the same identity.

pyarrow ignores AWS_ENDPOINT_URL, profiles' endpoints and several kinds of credentials (arrow #49643), so
boto3 resolves everything and pyarrow is told. The settings are the ordinary AWS ones (environment, profiles,
roles) plus SIAMMASK_STORAGE_RETRY_S, the longest time spent on retrying one operation (default 120 seconds), and
SIAMMASK_HTTP_HOSTS, which is what `--http-hosts` becomes on its way to the workers.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from pyarrow import fs

# Credentials of these kinds are found, and renewed, by pyarrow itself: not passing them keeps secrets out of
# pickled file systems and long readers alive beyond one token's life.
_KNOWN_TO_ARROW = {
    "env",
    "shared-credentials-file",
    "config-file",
    "custom-process",
    "iam-role",
    "container-role",
    "assume-role-with-web-identity",
}


HTTP_HOSTS = "SIAMMASK_HTTP_HOSTS"
GOOGLE = "https://storage.googleapis.com"
"""Google's S3 interface."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How patient storage is. Times in seconds.

    Attributes:
        retry_s: longest time spent on one request with its retries, also where the store is silent; 0 tries once. The
            timeouts of a try are shortened to what is left of it.
        connect_timeout_s: time to connect.
        read_timeout_s: longest silence of a server in the middle of an answer.
        http_hosts: hosts that may be read from by https, `host` or `host:port`.
        endpoint: of the S3 interface, where it is not that of the AWS settings.
    """

    retry_s: float = 120.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    http_hosts: tuple[str, ...] = ()
    endpoint: str | None = None

    def of_scheme(self, scheme: str) -> Settings:
        """These settings for `s3` or `gs`: Google's interface, where the AWS settings name no other endpoint."""
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return replace(self, endpoint=GOOGLE) if scheme == "gs" and not named else self

    def within(self, left_s: float) -> Settings:
        """These settings with timeouts that end a try in about `left_s` seconds, in steps of powers of two.

        A client is made and kept for each step. Where nothing is retried, the timeouts are those given.
        """
        if not self.retry_s or left_s >= 0.95 * self.read_timeout_s:
            return self
        step = 2.0 ** math.floor(math.log2(max(left_s, 0.25)))
        return replace(
            self,
            connect_timeout_s=min(self.connect_timeout_s, step),
            read_timeout_s=min(self.read_timeout_s, step),
        )

    @classmethod
    def from_environment(cls) -> Settings:
        """The default settings with SIAMMASK_STORAGE_RETRY_S and SIAMMASK_HTTP_HOSTS applied.

        Raises:
            ValueError: the variable is not a number of seconds.
        """
        hosts = tuple(filter(None, os.environ.get(HTTP_HOSTS, "").split(",")))
        text = os.environ.get("SIAMMASK_STORAGE_RETRY_S")
        if text is None:
            return cls(http_hosts=hosts)
        try:
            return cls(retry_s=max(0.0, float(text)), http_hosts=hosts)
        except ValueError:
            raise ValueError(f"SIAMMASK_STORAGE_RETRY_S is {text!r}; give a number of seconds") from None


QUICK = Settings(retry_s=0.0, connect_timeout_s=2.0, read_timeout_s=4.0)
"""For a heartbeat, which would rather miss a beat than be late."""

CHECKING = Settings(retry_s=5.0, connect_timeout_s=3.0, read_timeout_s=5.0)
"""For checks before the work, which have to say within half a minute that a store does not answer."""

_lock = threading.Lock()
_clients: dict[tuple[Settings, int], Any] = {}
_sessions: dict[int, Any] = {}


def s3_client(settings: Settings) -> Any:
    """A boto3 S3 client, thread-safe, one per process for the same settings and AWS_* environment."""
    _set_defaults()
    environment = _fingerprint()
    key = (settings, environment)
    with _lock:
        if key not in _clients:
            # A second client of a session takes a tenth of the time of the first.
            session = _sessions.get(environment) or _sessions.setdefault(environment, boto3.session.Session())
            _clients[key] = session.client("s3", endpoint_url=settings.endpoint, config=_config(settings))
        return _clients[key]


def arrow_s3(bucket: str, settings: Settings) -> fs.S3FileSystem:
    """pyarrow's S3 file system with boto3's endpoint, region, identity and certificate bundle."""
    _set_defaults()
    client = s3_client(settings)
    options: dict[str, Any] = {
        "connect_timeout": settings.connect_timeout_s,
        "request_timeout": settings.read_timeout_s,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=8 if settings.retry_s else 1),
    }
    endpoint = urlsplit(client.meta.endpoint_url)
    if (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        options["region"] = _region_of(client, bucket)
    else:
        options |= {"scheme": endpoint.scheme, "endpoint_override": endpoint.netloc + endpoint.path}
        options["region"] = client.meta.region_name or "us-east-1"
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        options["tls_ca_file_path"] = bundle
    credentials = client._request_signer._credentials
    if credentials is not None and credentials.method not in _KNOWN_TO_ARROW:
        frozen = credentials.get_frozen_credentials()
        options |= {"access_key": frozen.access_key, "secret_key": frozen.secret_key}
        options["session_token"] = frozen.token
    return fs.S3FileSystem(**options)


def _region_of(client: Any, bucket: str) -> str:
    """boto3 follows a bucket into its region by itself; pyarrow has to be told which it is."""
    try:
        region = client.head_bucket(Bucket=bucket).get("BucketRegion")
    except Exception:
        region = None  # the read that follows reports what is wrong, with its own URI
    return region or client.meta.region_name or "us-east-1"


def _set_defaults() -> None:
    # Checksum trailers, the SDKs' new default, are refused by older S3-compatible stores (HTTP 411).
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")


def _fingerprint() -> int:
    return hash(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))))


def _config(settings: Settings) -> Config:
    return Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        # `pipeline.storage.retry` alone tries again, so that the time given for it holds.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=64,
        tcp_keepalive=True,
    )
