"""Objects in S3-compatible stores and local files behind one set of functions over URIs.

Every function takes `s3://bucket/key`, a local path or `file://`, retries transient failures for a bounded
time (`Settings.retry_s`), and raises `StorageError` (`NotFound`, `AccessDenied`, `Unavailable`, `TooLarge`,
`NoSpace`), which names the URI and never a secret. Writes are whole or nothing.
"""

from pipeline.storage.access import (
    Probe,
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
    read_bytes,
    read_versioned,
    replace,
    reporting,
    require_reachable,
    size,
    upload_file,
    write_bytes,
)
from pipeline.storage.errors import AccessDenied, NoSpace, NotFound, StorageError, TooLarge, Unavailable
from pipeline.storage.settings import CHECKING, QUICK, Settings
from pipeline.storage.store import Entry, Versioned
from pipeline.storage.uris import Location, is_absolute, join, name, parent, parse, redact, resolve

__all__ = [
    "CHECKING",
    "QUICK",
    "AccessDenied",
    "Entry",
    "Location",
    "NoSpace",
    "NotFound",
    "Probe",
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
    "parent",
    "parse",
    "read_bytes",
    "read_versioned",
    "redact",
    "replace",
    "reporting",
    "require_reachable",
    "resolve",
    "size",
    "upload_file",
    "write_bytes",
]
