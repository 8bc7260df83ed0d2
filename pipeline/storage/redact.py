"""Secrets taken out of URIs and texts before they are shown."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


_URI_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]*")


_HOST_AND_PORT = re.compile(r"[^@:]*:[0-9]+")


_SECRET_QUERY = re.compile(
    r"([?&][^=&]*(?:signature|sig|token|credential|secret|password|accesskey)[^=&]*=)[^&\s]*", re.IGNORECASE
)


def redact(uri: str) -> str:
    """The URI with `user:password@`, a web server's query, and values of signature, token or key parameters blanked."""
    match = _SCHEME.match(uri)
    scheme, rest = (match.group(0), uri[match.end() :]) if match else ("", uri)
    host = rest.split("/", 1)[0]
    if scheme and ":" in host and not _HOST_AND_PORT.fullmatch(host):
        # A secret key may have slashes, so that the host's end is no end of it.
        rest = "***" + rest[rest.rfind("@") :] if "@" in rest else "***"
    elif scheme and "@" in host:
        rest = "***" + rest[rest.index("@") :]
    if scheme.lower() in ("https://", "http://"):
        path, query, _ = rest.partition("?")
        rest = f"{path}?***" if query else rest
    return scheme + _SECRET_QUERY.sub(r"\1***", rest)


def redact_text(text: str) -> str:
    """The text with the secrets blanked of every URI in it, wherever that begins."""
    return _SECRET_QUERY.sub(r"\1***", _URI_IN_TEXT.sub(lambda match: redact(match.group(0)), text))
