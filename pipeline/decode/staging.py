"""Videos on local disk for as long as somebody decodes them.

A local video is opened where it is. One from object storage is downloaded once for all who want it on this machine at
the time: a lock on the file, shared while it is used, is also the count of its users, and the last one to leave
removes it. The kernel gives up the locks of a process that dies, so what a killed worker left is found unlocked and
removed by the next one.

The videos staged on a machine at a time may be held to a number of bytes: the lock file of each says how many it takes,
and a download that would exceed them waits for others to leave. Nobody waits who keeps a video staged, so nobody waits
for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from model.video.errors import VideoError
from model.video.pictures import find_pictures, is_pattern
from pipeline import storage
from pipeline.decode.picture_staging import download_pictures, list_pictures
from pipeline.storage.locks import is_current, lock_at_once, locked, open_lock

ROOM_POLL_S = 0.2
LOCK_POLL_S = 0.02


def default_scratch() -> Path:
    """The folder for staged videos where the settings name none: one per user, in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"siammask-videos-{os.getuid()}"


@contextlib.contextmanager
def staged(
    location: str,
    *,
    scratch: str | None = None,
    max_bytes: int | None = None,
    max_staged_bytes: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Path]:
    """A local path of the video, valid inside the `with` block.

    Args:
        location: absolute local path or URI (`pipeline.storage`) of a video, a folder of pictures or a pattern of their
            names. Pictures in object storage come as one file (`pipeline.decode.picture_staging`).
        scratch: folder for downloads.
        max_bytes: largest file.
        max_staged_bytes: largest sum of the files staged in the folder at a time. A caller that holds one while it
            asks for another can wait for itself.
        on_bytes: called with the size of each piece received, and with 0 while it waits for room; may raise to stop.

    Raises:
        VideoError: stage "fetch": `NotFound`, `NotAFile`, `FileTooLarge`, `DiskFull`, `HostNotNamed` or `FetchError`.
    """
    try:
        place = storage.parse(location)
        if place.is_local:
            yield _local(Path(place.key), max_bytes)
            return
        folder = Path(scratch) if scratch else default_scratch()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if scratch is None and folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user, who could put videos of theirs into it")
        sweep(folder)
        path = folder / (hashlib.sha256(place.uri.encode()).hexdigest()[:32] + ".video")

        def download(marker: int) -> None:
            pictures = list_pictures(place.uri) if is_pattern(place.uri) else []
            try:
                need = sum(picture.size for picture in pictures)
                if max_staged_bytes is not None:
                    _reserve(path, marker, place.uri, need or storage.size(place.uri), max_staged_bytes, on_bytes)
                if not pictures:
                    storage.download(place.uri, path, max_bytes=max_bytes, on_bytes=on_bytes)
                    return
            except storage.NotFound:
                with contextlib.suppress(storage.AccessDenied):  # whoever may not list has no folders of pictures
                    pictures = pictures or list_pictures(place.uri)
                if not pictures:
                    raise
                if max_staged_bytes is not None:
                    need = sum(picture.size for picture in pictures)
                    _reserve(path, marker, place.uri, need, max_staged_bytes, on_bytes)
            download_pictures(place.uri, pictures, path, max_bytes, on_bytes)

        lock = _acquire(path, download)
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
    """A video where it lies; symbolic links are followed. To open a pipe or a device could take for ever."""
    pictures = find_pictures(str(path)) if path.is_dir() or is_pattern(path.name) else None
    if pictures is not None and pictures.names:
        return path
    try:
        status = path.stat()
    except OSError as error:
        kind = "NotFound" if isinstance(error, FileNotFoundError | NotADirectoryError) else "FetchError"
        raise VideoError("fetch", kind, f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("fetch", "NotAFile", f"{path} is a folder without pictures, pipe or device; name a file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise VideoError("fetch", "FileTooLarge", f"{path} has {status.st_size} bytes, the limit is {max_bytes}")
    return path


def staged_bytes(folder: Path) -> int:
    """Bytes of the videos staged in the folder, those on their way included."""
    return sum(_reserved(marker) or _size(marker.with_suffix(".video")) for marker in folder.glob("*.lock"))


def _reserve(
    path: Path, lock: int, uri: str, need: int, limit: int, on_wait: Callable[[int], None] | None
) -> None:
    """Wait until the file fits beside those staged, and note in its lock file what it takes.

    Raises:
        VideoError: `FileTooLarge`: it would not fit alone.
    """
    if need > limit:
        message = f"{storage.redact(uri)} has {need} bytes, --max-staged-bytes allows {limit} on a node"
        raise VideoError("fetch", "FileTooLarge", message)
    while True:
        with locked(path.parent / ".room"):  # while it is counted, no other process adds to what is staged
            if staged_bytes(path.parent) + need <= limit:
                os.pwrite(lock, str(need).encode(), 0)
                return
        if on_wait is not None:
            on_wait(0)
        time.sleep(ROOM_POLL_S)
        sweep(path.parent)


def _reserved(marker: Path) -> int:
    try:
        return int(marker.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _acquire(path: Path, download: Callable[[int], object]) -> int:
    """Have the file, downloaded if it is not there, and return a descriptor that holds its lock, shared."""
    marker = path.with_suffix(".lock")
    while True:
        lock = open_lock(marker)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if is_current(marker, lock) and not path.exists():
                if not lock_at_once(lock):  # to wait for the lock is to wait for all who use the file meanwhile
                    time.sleep(LOCK_POLL_S)
                elif is_current(marker, lock) and not path.exists():
                    download(lock)
                fcntl.flock(lock, fcntl.LOCK_SH)
            # A lock is not changed atomically: in between, another may have removed the file.
            if is_current(marker, lock) and path.exists():
                return lock
        except BaseException:
            _release(path, lock)
            raise
        os.close(lock)


def _release(path: Path, lock: int) -> None:
    """Let go of the file, and remove it where nobody else holds it."""
    marker = path.with_suffix(".lock")
    try:
        if lock_at_once(lock) and is_current(marker, lock):
            for part in path.parent.glob(f".{path.name}.*"):
                part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(lock)


def _kind(error: storage.StorageError) -> str:
    kinds: tuple[tuple[type[storage.StorageError], str], ...] = (
        (storage.NotFound, "NotFound"),
        (storage.TooLarge, "FileTooLarge"),
        (storage.NoSpace, "DiskFull"),
        (storage.HostNotNamed, "HostNotNamed"),
    )
    return next((name for kind, name in kinds if isinstance(error, kind)), "FetchError")
