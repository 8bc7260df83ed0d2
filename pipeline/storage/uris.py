"""URIs of objects and files: parsing, resolving relative ones, and blanking secrets before they are shown.

Two kinds are known: `s3://bucket/key`, whose key is taken literally, and local paths, plain or as `file://`
(percent-encoded). Everything else is refused, so that no manifest makes the job open anything else.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEMES = "s3:// and local paths or file://"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
_URI_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]*")
_HOST_AND_PORT = re.compile(r"[^@:]*:[0-9]+")
_SIGNED = re.compile(
    r"[?&](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig|token)=", re.IGNORECASE
)
_SECRET_QUERY = re.compile(
    r"([?&][^=&]*(?:signature|sig|token|credential|secret|password|accesskey)[^=&]*=)[^&\s]*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed URI. `bucket` is None for a local path, whose `key` is then absolute."""

    bucket: str | None
    key: str

    @property
    def uri(self) -> str:
        """The canonical spelling: `s3://bucket/key`, or the absolute local path."""
        return self.key if self.bucket is None else f"s3://{self.bucket}/{self.key}".rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether this is a path of the local file system."""
        return self.bucket is None


def redact(uri: str) -> str:
    """The URI with `user:password@` and the values of signature, token or key parameters blanked."""
    found = _SCHEME.match(uri)
    scheme, rest = (found.group(0), uri[found.end() :]) if found else ("", uri)
    host = rest.split("/", 1)[0]
    if scheme and ":" in host and not _HOST_AND_PORT.fullmatch(host):
        # A secret key may have slashes, so that the host's end is no end of it.
        rest = "***" + rest[rest.rfind("@") :] if "@" in rest else "***"
    elif scheme and "@" in host:
        rest = "***" + rest[rest.index("@") :]
    return scheme + _SECRET_QUERY.sub(r"\1***", rest)


def redact_text(text: str) -> str:
    """The text with the secrets blanked of every URI in it, wherever that begins."""
    return _SECRET_QUERY.sub(r"\1***", _URI_IN_TEXT.sub(lambda found: redact(found.group(0)), text))


def parse(uri: str) -> Location:
    """Parses an absolute or local URI; a relative local path is taken from the working directory.

    Raises:
        StorageError: another scheme, a bad bucket name, credentials or a signature inside the URI, or a NUL character.
    """
    if not uri or "\0" in uri:
        raise _refuse(uri, "it is empty or has a NUL character", "give s3://bucket/key or a path")
    _refuse_signed(uri)
    found = _SCHEME.match(uri)
    if found is None:
        return Location(None, os.path.abspath(uri))
    scheme, rest = found.group(1).lower(), uri[found.end() :]
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise _refuse(uri, "a file URI has no host", "write file:///absolute/path")
        return Location(None, os.path.abspath("/" + unquote(path)))
    if scheme != "s3":
        raise _refuse(uri, f"the scheme {scheme}:// is not one of {SCHEMES}", f"use {SCHEMES}")
    bucket, _, key = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise _refuse(uri, "credentials do not belong into a URI", "use the AWS settings of the node")
    if not _BUCKET.match(bucket):
        raise _refuse(uri, "the bucket's name is missing or wrong", "write s3://bucket/key")
    return Location(bucket, key.rstrip("/"))


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
    _refuse_signed(relative)
    folder = parse(base)
    if folder.bucket is None:
        return parse(os.path.join(folder.key, relative)).uri
    key = posixpath.normpath(posixpath.join(folder.key, relative))
    if key.startswith("..") or key == ".":
        raise _refuse(relative, f"it leaves the bucket, seen from {folder.uri}", "correct the relative path")
    return Location(folder.bucket, key).uri


def join(folder: str, *names: str) -> str:
    """The URI of an entry below a folder; names are taken literally."""
    location = parse(folder)
    parts = [location.key.rstrip("/"), *names] if location.is_local or location.key else list(names)
    return Location(location.bucket, "/".join(parts)).uri


def parent(uri: str) -> str:
    """The URI of the folder that an object is in."""
    location = parse(uri)
    return Location(location.bucket, posixpath.dirname(location.key)).uri


def name(uri: str) -> str:
    """The last part of a URI."""
    return posixpath.basename(parse(uri).key)


def _refuse_signed(uri: str) -> None:
    if _SIGNED.search(uri):
        raise _refuse(uri, "a signed URI is a secret", "give the plain URI; access is by the AWS settings of the node")


def _refuse(uri: str, cause: str, advice: str) -> Exception:
    from pipeline.storage.errors import StorageError

    return StorageError(uri, "use the URI", cause, advice)
