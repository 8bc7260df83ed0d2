"""Objects in S3 and its likes, by boto3. Every call is whole or nothing and bounded in time."""

from __future__ import annotations

import base64
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from boto3.s3.transfer import TransferConfig
from pyarrow import fs

from pipeline.storage.errors import AccessDenied, Conflict, NotFound, StorageError, TooLarge, Unavailable, Unconditional
from pipeline.storage.retry import retrying
from pipeline.storage.settings import Settings, arrow_s3, s3_client
from pipeline.storage.store import Entry, OnBytes, Versioned
from pipeline.storage.uris import Location

log = logging.getLogger(__name__)
# It tells, for each client, where it found credentials.
logging.getLogger("botocore").setLevel(logging.WARNING)

_CHUNK = 1 << 20
_TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)
_WRITE_TOKEN = "write-token"


class S3Store:
    """The `Store` of `s3://` locations."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def filesystem(self, at: Location) -> tuple[fs.FileSystem, str]:
        """pyarrow's file system and the path in it."""
        assert at.bucket is not None
        return self._run(at, "open", lambda: arrow_s3(at.bucket or "", self.settings)), f"{at.bucket}/{at.key}"

    def entry(self, at: Location) -> Entry | None:
        """Size and age of the object, or None where there is none."""
        try:
            head = self._run(at, "look at", lambda: self._client.head_object(**_where(at)))
        except NotFound:
            return None
        return Entry(at.uri, int(head["ContentLength"]), head["LastModified"])

    def entries(self, folder: Location, below: str) -> Iterator[Entry]:
        """All objects below a folder whose key there starts with `below`, page by page."""
        prefix = f"{folder.key}/{below}" if folder.key else below
        token: dict[str, str] = {}
        while True:
            query = {"Bucket": folder.bucket, "Prefix": prefix, **token}
            page = self._run(folder, "list the folder", partial(self._client.list_objects_v2, **query))
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):
                    uri = f"s3://{folder.bucket}/{found['Key']}"
                    yield Entry(uri, int(found["Size"]), found["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, at: Location) -> Versioned:
        """The object's bytes and version."""

        def get() -> Versioned:
            answer = self._client.get_object(**_where(at))
            return Versioned(answer["Body"].read(), answer["ETag"])

        return self._run(at, "read", get)

    def download(self, at: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int:
        """Streams the object into `path`, going on after a broken connection where it stopped."""
        version: str | None = None

        with open(path, "wb") as file:

            def get() -> int:
                nonlocal version
                done = file.tell()
                rest = {"Range": f"bytes={done}-", "IfMatch": version} if version and done else {}
                try:
                    answer = self._client.get_object(**_where(at), **rest)
                except self._client.exceptions.ClientError as error:
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] in (412, 416):
                        file.seek(0)
                        file.truncate()
                        raise Unavailable(at.uri, "read", "changed while it was read", "run again") from None
                    raise
                version, total = answer["ETag"], done + int(answer["ContentLength"])
                if max_bytes is not None and total > max_bytes:
                    raise too_large(at, total, max_bytes)
                _copy(answer["Body"].iter_chunks(_CHUNK), file, on_bytes)
                if file.tell() != total:
                    raise Unavailable(at.uri, "read", f"{file.tell()} of {total} bytes came", "run again")
                return total

            return retrying(at.uri, "download", self.settings.retry_s, get, file.tell)

    def upload(self, at: Location, path: Path) -> None:
        """Uploads a file; parts of a large one become visible together or not at all."""
        self._run(
            at,
            "write",
            lambda: self._client.upload_file(str(path), at.bucket, at.key, Config=_TRANSFER),
        )

    def create(self, at: Location, data: bytes) -> str | None:
        """Writes a new object; its version, or None where there was one already."""
        try:
            return self._conditional_put(at, data, {"IfNoneMatch": "*"})
        except Unconditional:
            return None if self.entry(at) else self._conditional_put(at, data, {})

    def replace(self, at: Location, data: bytes, version: str) -> str | None:
        """Overwrites the object if it still has `version`; the new version, or None where it has not."""
        try:
            return self._conditional_put(at, data, {"IfMatch": version})
        except NotFound:
            return None
        except Unconditional:
            same = self.read(at).version == version
            return self._conditional_put(at, data, {}) if same else None

    def delete(self, places: Iterable[Location]) -> None:
        """Deletes objects, absent ones too; one request each, since not every store has the bulk request."""

        def one(at: Location) -> None:
            self._run(at, "delete", lambda: self._client.delete_object(**_where(at)))

        with ThreadPoolExecutor(8, thread_name_prefix="delete") as pool:
            for _ in pool.map(one, places):
                pass

    def abort_uploads(self, folder: Location) -> int:
        """Drops the unfinished multipart uploads below a folder; returns how many."""
        prefix = f"{folder.key}/" if folder.key else ""
        query = {"Bucket": folder.bucket, "Prefix": prefix}
        pages = self._client.get_paginator("list_multipart_uploads").paginate(**query)
        try:
            found = self._run(
                folder, "list the uploads", lambda: [one for page in pages for one in page.get("Uploads", ())]
            )
        except Unconditional:
            return 0
        except AccessDenied:
            # Not every role may list uploads. What is left of them is no object and in nobody's way.
            log.warning("the store does not let this identity list uploads below %s; they are left", folder.uri)
            return 0
        stale = [one for one in found if one["Key"].startswith(prefix)]
        for one in stale:
            query = {"Bucket": folder.bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
            self._run(folder, "drop an upload", partial(self._client.abort_multipart_upload, **query))
        return len(stale)

    @property
    def _client(self) -> Any:
        return s3_client(self.settings)

    def _run(self, at: Location, action: str, operation: Callable[[], Any]) -> Any:
        return retrying(at.uri, action, self.settings.retry_s, operation)

    def _conditional_put(self, at: Location, data: bytes, condition: dict[str, str]) -> str | None:
        # A put whose answer is lost is sent again and then meets its own first try: the token tells.
        token = uuid.uuid4().hex
        # Not every store notices that a client died before it sent the body; the digest tells, of an empty one too.
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

        def put() -> str:
            answer = self._client.put_object(
                **_where(at), Body=data, ContentMD5=digest, Metadata={_WRITE_TOKEN: token}, **condition
            )
            return answer["ETag"]

        try:
            return self._run(at, "write", put)
        except Conflict:
            try:
                head = self._run(at, "look at", lambda: self._client.head_object(**_where(at)))
            except NotFound:
                return None
            return head["ETag"] if head["Metadata"].get(_WRITE_TOKEN) == token else None


def too_large(at: Location, size: int, limit: int) -> StorageError:
    """The error for an object over the caller's limit."""
    return TooLarge(at.uri, "download", f"it has {size} bytes, more than the limit of {limit}", "raise the limit")


def _where(at: Location) -> dict[str, str | None]:
    return {"Bucket": at.bucket, "Key": at.key}


def _copy(chunks: Iterable[bytes], file: BinaryIO, on_bytes: OnBytes | None) -> None:
    for chunk in chunks:
        file.write(chunk)
        if on_bytes is not None:
            on_bytes(len(chunk))
