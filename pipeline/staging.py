"""Videos on local disk for as long as somebody decodes them.

A local video is opened where it is. One from object storage is downloaded once for all who want it on this machine at
the time: a lock on the file, shared while it is used, is also the count of its users, and the last one to leave
removes it. The kernel gives up the locks of a process that dies, so what a killed worker left is found unlocked and
removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import storage
from pipeline.decode.errors import VideoError


def default_scratch() -> Path:
    """The folder for staged videos where the settings name none: one per user, in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"siammask-videos-{os.getuid()}"


@contextlib.contextmanager
def staged(
    location: str,
    *,
    scratch: str | None = None,
    max_bytes: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Path]:
    """A local path of the video, valid inside the `with` block.

    Args:
        location: absolute local path, `file://` or `s3://` URI.
        scratch: folder for downloads.
        max_bytes: largest file.
        on_bytes: called with the size of each piece received; may raise to stop the download.

    Raises:
        VideoError: stage "fetch": `NotFound`, `FileTooLarge`, `DiskFull` or `FetchError`.
    """
    try:
        at = storage.parse(location)
        if at.is_local:
            yield _local(Path(at.key), max_bytes)
            return
        folder = Path(scratch) if scratch else default_scratch()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(folder)
        path = folder / (hashlib.sha256(at.uri.encode()).hexdigest()[:32] + ".video")
        lock = _acquire(path, lambda: storage.download(at.uri, path, max_bytes=max_bytes, on_bytes=on_bytes))
    except storage.StorageError as error:
        raise VideoError("fetch", _kind(error), str(error)) from None
    except OSError as error:
        raise VideoError("fetch", "FetchError", f"cannot stage {storage.redact(location)}: {error}") from None
    try:
        yield path
    finally:
        _release(path, lock)


def sweep(folder: Path) -> None:
    """Remove staged videos, and parts of them, that no live process uses."""
    for marker in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            lock = os.open(marker, os.O_RDWR)
            _release(marker.with_suffix(".video"), lock)


def _local(path: Path, max_bytes: int | None) -> Path:
    try:
        size = path.stat().st_size
    except OSError as error:
        kind = "NotFound" if isinstance(error, FileNotFoundError | NotADirectoryError) else "FetchError"
        raise VideoError("fetch", kind, f"cannot read {path}: {error.strerror}") from None
    if max_bytes is not None and size > max_bytes:
        raise VideoError("fetch", "FileTooLarge", f"{path} has {size} bytes, the limit is {max_bytes}")
    return path


def _acquire(path: Path, download: Callable[[], object]) -> int:
    """Have the file, downloaded if it is not there, and return a descriptor that holds its lock, shared."""
    marker = path.with_suffix(".lock")
    while True:
        lock = os.open(marker, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_current(marker, lock) and not path.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)
                if _is_current(marker, lock) and not path.exists():
                    download()
                fcntl.flock(lock, fcntl.LOCK_SH)
            # A lock is not changed atomically: in between, another may have removed the file.
            if _is_current(marker, lock) and path.exists():
                return lock
        except BaseException:
            _release(path, lock)
            raise
        os.close(lock)


def _release(path: Path, lock: int) -> None:
    """Let go of the file, and remove it where nobody else holds it."""
    marker = path.with_suffix(".lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_current(marker, lock):
            for part in path.parent.glob(f".{path.name}.*"):
                part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(lock)


def _is_current(marker: Path, lock: int) -> bool:
    """Whether the locked file is the one that has the name now, not one removed meanwhile."""
    try:
        return os.path.samestat(os.stat(marker), os.fstat(lock))
    except FileNotFoundError:
        return False


def _kind(error: storage.StorageError) -> str:
    kinds: tuple[tuple[type[storage.StorageError], str], ...] = (
        (storage.NotFound, "NotFound"),
        (storage.TooLarge, "FileTooLarge"),
        (storage.NoSpace, "DiskFull"),
    )
    return next((name for kind, name in kinds if isinstance(error, kind)), "FetchError")
