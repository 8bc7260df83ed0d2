"""Objects in S3-compatible stores and local files behind one set of functions over URIs.

Every function takes `s3://bucket/key`, `gs://bucket/key`, a local path or `file://`, those that read files
`https://host/path` too, retries transient failures for a bounded
time (`Settings.retry_s`), and raises `StorageError` (`NotFound`, `AccessDenied`, `Unavailable`, `TooLarge`,
`NoSpace`, `HostNotNamed`), which names the URI and never a secret. Writes are whole or nothing.
"""

from pipeline.storage.access import (
    abort_uploads,
    check_writable,
    create,
    delete_many,
    download,
    entry,
    exists,
    filesystem_for,
    glob,
    is_folder,
    list_files,
    open_file,
    open_stream,
    read_bytes,
    read_versioned,
    replace,
    reporting,
    require_named_host,
    require_reachable,
    size,
    upload_file,
    write_bytes,
)
from pipeline.storage.errors import AccessDenied, HostNotNamed, NoSpace, NotFound, StorageError, TooLarge, Unavailable
from pipeline.storage.redact import redact, redact_text
from pipeline.storage.settings import CHECKING, HTTP_HOSTS, QUICK, Settings
from pipeline.storage.store import Entry, Versioned
from pipeline.storage.uris import Location, is_absolute, join, name, parent, parse, resolve

__all__ = [
    "CHECKING",
    "HTTP_HOSTS",
    "QUICK",
    "AccessDenied",
    "Entry",
    "HostNotNamed",
    "Location",
    "NoSpace",
    "NotFound",
    "Settings",
    "StorageError",
    "TooLarge",
    "Unavailable",
    "Versioned",
    "abort_uploads",
    "check_writable",
    "create",
    "delete_many",
    "download",
    "entry",
    "exists",
    "filesystem_for",
    "glob",
    "is_absolute",
    "is_folder",
    "join",
    "list_files",
    "name",
    "open_file",
    "open_stream",
    "parent",
    "parse",
    "read_bytes",
    "read_versioned",
    "redact",
    "redact_text",
    "replace",
    "reporting",
    "require_named_host",
    "require_reachable",
    "resolve",
    "size",
    "upload_file",
    "write_bytes",
]
