"""Objects in S3 and its likes, by boto3. Every call is whole or nothing and bounded in time."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from boto3.s3.transfer import TransferConfig
from pyarrow import fs

from pipeline.storage.errors import AccessDenied, Conflict, NotFound, Unavailable, Unconditional
from pipeline.storage.retry import retrying
from pipeline.storage.settings import Settings, arrow_s3, s3_client
from pipeline.storage.store import Entry, OnBytes, Versioned, too_large
from pipeline.storage.uris import Location

log = logging.getLogger(__name__)
# It tells, for each client, where it found credentials.
logging.getLogger("botocore").setLevel(logging.WARNING)

_CHUNK = 1 << 20
_TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)
_WRITE_TOKEN = "write-token"


class S3Store:
    """The `Store` of `s3://` and `gs://` locations."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def filesystem(self, location: Location) -> tuple[fs.FileSystem, str]:
        """pyarrow's file system and the path in it."""
        bucket = location.bucket
        assert bucket is not None
        return self._run(location, "open", lambda _: arrow_s3(bucket, self.settings)), f"{bucket}/{location.key}"

    def entry(self, location: Location) -> Entry | None:
        """Size and age of the object, or None where there is none."""
        try:
            head = self._run(location, "look at", lambda client: client.head_object(**_where(location)))
        except NotFound:
            return None
        return Entry(location.uri, int(head["ContentLength"]), head["LastModified"], head.get("ETag", ""))

    def entries(self, folder: Location, below: str) -> Iterator[Entry]:
        """All objects below a folder whose key there starts with `below`, page by page."""
        prefix = f"{folder.key}/{below}" if folder.key else below
        token: dict[str, str] = {}
        while True:
            query = {"Bucket": folder.bucket, "Prefix": prefix, **token}
            page = self._run(folder, "list the folder", partial(_list, query))
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):
                    uri = f"{folder.scheme}://{folder.bucket}/{found['Key']}"
                    yield Entry(uri, int(found["Size"]), found["LastModified"], found.get("ETag", ""))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, location: Location) -> Versioned:
        """The object's bytes and version."""

        def get(client: Any) -> Versioned:
            answer = client.get_object(**_where(location))
            return Versioned(answer["Body"].read(), answer["ETag"])

        return self._run(location, "read", get)

    def download(self, location: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int:
        """Streams the object into `path`, going on after a broken connection where it stopped."""
        version: str | None = None

        with open(path, "wb") as file:

            def get() -> int:
                nonlocal version
                done = file.tell()
                rest = {"Range": f"bytes={done}-", "IfMatch": version} if version and done else {}
                try:
                    answer = self._client.get_object(**_where(location), **rest)
                except self._client.exceptions.ClientError as error:
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] in (412, 416):
                        file.seek(0)
                        file.truncate()
                        raise Unavailable(location.uri, "read", "changed while it was read", "run again") from None
                    raise
                version, total = answer["ETag"], done + int(answer["ContentLength"])
                if max_bytes is not None and total > max_bytes:
                    raise too_large(location, total, max_bytes)
                _copy(answer["Body"].iter_chunks(_CHUNK), file, on_bytes)
                if file.tell() != total:
                    raise Unavailable(location.uri, "read", f"{file.tell()} of {total} bytes came", "run again")
                return total

            return retrying(location.uri, "download", self.settings.retry_s, get, file.tell)

    def upload(self, location: Location, path: Path) -> None:
        """Uploads a file; parts of a large one become visible together or not at all."""
        self._run(
            location,
            "write",
            lambda client: client.upload_file(str(path), location.bucket, location.key, Config=_TRANSFER),
        )

    def create(self, location: Location, data: bytes) -> str | None:
        """Writes a new object; its version, or None where there was one already."""
        try:
            return self._conditional_put(location, data, {"IfNoneMatch": "*"})
        except Unconditional:
            return None if self.entry(location) else self._conditional_put(location, data, {})

    def replace(self, location: Location, data: bytes, version: str) -> str | None:
        """Overwrites the object if it still has `version`; the new version, or None where it has not."""
        try:
            return self._conditional_put(location, data, {"IfMatch": version})
        except NotFound:
            return None
        except Unconditional:
            same = self.read(location).version == version
            return self._conditional_put(location, data, {}) if same else None

    def delete(self, places: Iterable[Location]) -> None:
        """Deletes objects, absent ones too; one request each, since not every store has the bulk request."""

        def one(location: Location) -> None:
            self._run(location, "delete", lambda client: client.delete_object(**_where(location)))

        with ThreadPoolExecutor(8, thread_name_prefix="delete") as pool:
            for _ in pool.map(one, places):
                pass

    def abort_uploads(self, folder: Location) -> int:
        """Drops the unfinished multipart uploads below a folder; returns how many."""
        prefix = f"{folder.key}/" if folder.key else ""
        query = {"Bucket": folder.bucket, "Prefix": prefix}

        def list_uploads(client: Any) -> list[dict[str, Any]]:
            pages = client.get_paginator("list_multipart_uploads").paginate(**query)
            return [upload for page in pages for upload in page.get("Uploads", ())]

        try:
            uploads = self._run(folder, "list the uploads", list_uploads)
        except Unconditional:
            return 0
        except AccessDenied:
            # Not every role may list uploads. What is left of them is no object and in nobody's way.
            log.warning("the store does not let this identity list uploads below %s; they are left", folder.uri)
            return 0
        stale = [upload for upload in uploads if upload["Key"].startswith(prefix)]
        for upload in stale:
            query = {"Bucket": folder.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._run(folder, "drop an upload", partial(_abort, query))
        return len(stale)

    @property
    def _client(self) -> Any:
        return s3_client(self.settings)

    def _run(self, location: Location, action: str, operation: Callable[[Any], Any]) -> Any:
        """Calls `operation` with a client whose timeouts end with the time for retries."""
        give_up = time.monotonic() + self.settings.retry_s

        def attempt() -> Any:
            return operation(s3_client(self.settings.within(give_up - time.monotonic())))

        return retrying(location.uri, action, self.settings.retry_s, attempt)

    def _conditional_put(self, location: Location, data: bytes, condition: dict[str, str]) -> str | None:
        # A put whose answer is lost is sent again and then meets its own first try: the token tells.
        token = uuid.uuid4().hex
        # Not every store notices that a client died before it sent the body; the digest tells, of an empty one too.
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

        def put(client: Any) -> str:
            answer = client.put_object(
                **_where(location), Body=data, ContentMD5=digest, Metadata={_WRITE_TOKEN: token}, **condition
            )
            return answer["ETag"]

        try:
            return self._run(location, "write", put)
        except Conflict:
            try:
                head = self._run(location, "look at", lambda client: client.head_object(**_where(location)))
            except NotFound:
                return None
            return head["ETag"] if head["Metadata"].get(_WRITE_TOKEN) == token else None


def _list(query: dict[str, Any], client: Any) -> Any:
    return client.list_objects_v2(**query)


def _abort(query: dict[str, Any], client: Any) -> Any:
    return client.abort_multipart_upload(**query)


def _where(location: Location) -> dict[str, str | None]:
    return {"Bucket": location.bucket, "Key": location.key}


def _copy(chunks: Iterable[bytes], file: BinaryIO, on_bytes: OnBytes | None) -> None:
    for chunk in chunks:
        file.write(chunk)
        if on_bytes is not None:
            on_bytes(len(chunk))
