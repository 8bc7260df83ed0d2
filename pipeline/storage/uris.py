"""URIs of objects and files: parsing, resolving relative ones, and blanking secrets before they are shown.

Three kinds are known: `s3://bucket/key` and `gs://bucket/key`, whose key is taken literally, `https://host/path?query`,
and local paths, plain or as `file://` (percent-encoded). Everything else is refused, so that no manifest makes the job
open anything else.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urljoin

from pipeline.storage.redact import _SCHEME

SCHEMES = "s3://, gs://, https:// and local paths or file://"
HOST = re.compile(r"^(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$")
"""A host name or address, with a port or without."""
_BUCKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
_SIGNED = re.compile(
    r"[?&](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig|token)=", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed URI.

    Attributes:
        bucket: of an object store; the host, with its port, of a web server; None for a local path.
        key: an absolute path where it is local; the path, and a query after it, where it is a web server's.
        scheme: `s3`, `gs`, `https` or `file`.
    """

    bucket: str | None
    key: str
    scheme: str = "s3"

    @property
    def uri(self) -> str:
        """The canonical spelling: `s3://bucket/key`, or the absolute local path."""
        return self.key if self.bucket is None else f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    @property
    def path(self) -> str:
        """The key without a web server's query."""
        return self.key.partition("?")[0] if self.scheme == "https" else self.key

    @property
    def is_local(self) -> bool:
        """Whether this is a path of the local file system."""
        return self.bucket is None


def parse(uri: str) -> Location:
    """Parses an absolute or local URI; a relative local path is taken from the working directory.

    Raises:
        StorageError: another scheme, a bad bucket name, credentials or a signature inside the URI, or a NUL character.
    """
    if not uri or "\0" in uri:
        raise _refuse(uri, "it is empty or has a NUL character", "give s3://bucket/key or a path")
    match = _SCHEME.match(uri)
    scheme, rest = (match.group(1).lower(), uri[match.end() :]) if match else ("", uri)
    if scheme == "https":
        return _parse_https(uri, rest)
    _refuse_signed(uri)
    if match is None:
        return Location(None, os.path.abspath(uri))
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise _refuse(uri, "a file URI has no host", "write file:///absolute/path")
        return Location(None, os.path.abspath("/" + unquote(path)))
    if scheme == "http":
        raise _refuse(uri, "http:// can be read and changed on its way", "use https://")
    if scheme not in ("s3", "gs"):
        raise _refuse(uri, f"the scheme {scheme}:// is not one of {SCHEMES}", f"use {SCHEMES}")
    bucket, _, key = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise _refuse(uri, "credentials do not belong into a URI", "use the AWS settings of the node")
    if not _BUCKET.match(bucket):
        raise _refuse(uri, "the bucket's name is missing or wrong", f"write {scheme}://bucket/key")
    return Location(bucket, key.rstrip("/"), scheme)


def _parse_https(uri: str, rest: str) -> Location:
    host, _, key = rest.partition("#")[0].partition("/")
    if "@" in host:
        raise _refuse(uri, "credentials do not belong into a URI", "give a URI that needs none")
    if not HOST.match(host) or any(char.isspace() or ord(char) < 33 for char in key):
        raise _refuse(uri, "its host or path is missing or wrong", "write https://host/path, percent-encoded")
    return Location(host.lower().removesuffix(":443"), key, "https")


def is_absolute(uri: str) -> bool:
    """Whether the URI stands by itself: it has a scheme, known or not, or is an absolute path."""
    return uri.startswith("/") or _SCHEME.match(uri) is not None


def resolve(base: str, relative: str) -> str:
    """The canonical URI of `relative` as seen from the folder `base`; an absolute one is only normalised.

    Example:
        >>> resolve("s3://bucket/set", "../clips/a.mp4")
        's3://bucket/clips/a.mp4'

    Raises:
        StorageError: either is no URI of a known kind, or `relative` climbs out of the bucket.
    """
    if is_absolute(relative):
        return parse(relative).uri
    if not relative:
        raise _refuse(relative, "it is empty", "give s3://bucket/key or a path")
    folder = parse(base)
    if folder.scheme == "https":
        return parse(urljoin(f"https://{folder.bucket}/{folder.path}".rstrip("/") + "/", relative)).uri
    _refuse_signed(relative)
    if folder.bucket is None:
        return parse(os.path.join(folder.key, relative)).uri
    key = posixpath.normpath(posixpath.join(folder.key, relative))
    if key.startswith("..") or key == ".":
        raise _refuse(relative, f"it leaves the bucket, seen from {folder.uri}", "correct the relative path")
    return replace(folder, key=key).uri


def join(folder: str, *names: str) -> str:
    """The URI of an entry below a folder; names are taken literally."""
    location = parse(folder)
    parts = [location.key.rstrip("/"), *names] if location.is_local or location.key else list(names)
    return replace(location, key="/".join(parts)).uri


def parent(uri: str) -> str:
    """The URI of the folder that an object is in."""
    location = parse(uri)
    return replace(location, key=posixpath.dirname(location.path)).uri


def name(uri: str) -> str:
    """The last part of a URI."""
    return posixpath.basename(parse(uri).path)


def _refuse_signed(uri: str) -> None:
    if _SIGNED.search(uri):
        raise _refuse(uri, "a signed URI is a secret", "give the plain URI; access is by the AWS settings of the node")


def _refuse(uri: str, cause: str, advice: str) -> Exception:
    from pipeline.storage.errors import StorageError

    return StorageError(uri, "use the URI", cause, advice)
