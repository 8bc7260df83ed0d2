"""Staging: one download for all users on a machine, nothing left behind, errors with names."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.decode import ClipRequest, DecodeLimits, DecodeSettings, Failed, Finished, VideoError, staging
from pipeline.decode.staging import staged, staged_bytes
from pipeline.storage import s3
from tests.conftest import S3Store
from tests.pipeline.videos import make_video, read_clips

URI = "s3://bucket/a.mp4"


class Downloads:
    """Stands in for `storage.download`: writes the object's name and counts."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.count, self.seconds, self.error = 0, seconds, error

    def __call__(self, uri: str, path: Path, **_: object) -> int:
        self.count += 1
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return Path(path).write_text(uri)


def test_a_local_video_stays_where_it_is(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", 2)
    for location in (str(path), path.as_uri()):
        with staged(location, scratch=str(tmp_path / "scratch")) as local:
            assert local == path
    assert path.exists() and not (tmp_path / "scratch").exists()


def test_a_remote_video_is_there_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = Downloads()
    monkeypatch.setattr(storage, "download", downloads)
    with staged(URI, scratch=str(tmp_path)) as first:
        assert first.read_text() == URI
        with staged(URI, scratch=str(tmp_path)) as second:
            assert second == first
        assert first.exists(), "the first user still needs it"
    assert downloads.count == 1
    assert list(tmp_path.iterdir()) == []


def test_users_at_once_share_one_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = Downloads(0.2)
    monkeypatch.setattr(storage, "download", downloads)
    together = threading.Barrier(4)
    texts: list[str] = []

    def use() -> None:
        with staged(URI, scratch=str(tmp_path)) as path:
            together.wait(20)
            texts.append(path.read_text())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [URI] * 4
    assert downloads.count == 1
    assert list(tmp_path.iterdir()) == []


def test_nobody_who_saw_no_file_waits_until_another_has_used_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hold the lock, shared, and see no file: one downloads, the other goes on as soon as the file is there."""
    monkeypatch.setattr(storage, "download", Downloads(0.2))
    seen, together = threading.Barrier(2), threading.Barrier(2)
    is_current, looks = staging.is_current, itertools.count()

    def look(marker: Path, lock: int) -> bool:
        if next(looks) < 2:
            seen.wait(20)
        return is_current(marker, lock)

    def use() -> None:
        with staged(URI, scratch=str(tmp_path)):
            together.wait(20)

    monkeypatch.setattr(staging, "is_current", look)
    monkeypatch.setattr(staging, "sweep", lambda folder: None)
    with ThreadPoolExecutor(2) as pool:
        for user in [pool.submit(use) for _ in range(2)]:
            user.result()


def test_users_that_come_and_go_always_have_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "download", Downloads(0.001))
    wrong: list[object] = []

    def use() -> None:
        for _ in range(40):
            with staged(URI, scratch=str(tmp_path)) as path:
                if path.read_text() != URI:
                    wrong.append(path)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(tmp_path.iterdir()) == []


def test_videos_staged_at_once_are_held_to_a_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "download", Downloads(0.05))
    monkeypatch.setattr(storage, "size", lambda uri: len(uri))
    at_once: list[int] = []
    waits: list[int] = []

    def use(number: int) -> None:
        uri = f"s3://bucket/{number}.mp4"
        with staged(uri, scratch=str(tmp_path), max_staged_bytes=2 * len(uri) + 1, on_bytes=waits.append) as path:
            assert path.read_text() == uri
            at_once.append(staged_bytes(tmp_path) // len(uri))
            time.sleep(0.1)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(at_once) == 6 and max(at_once) == 2
    assert waits, "a sign of life while it waits"
    assert [path.name for path in tmp_path.iterdir()] == [".room"]


def test_a_video_larger_than_all_staged_may_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "size", lambda uri: 11)
    with (
        pytest.raises(VideoError, match="11 bytes, --max-staged-bytes allows 10") as caught,
        staged(URI, scratch=str(tmp_path), max_staged_bytes=10),
    ):
        pass
    assert (caught.value.stage, caught.value.error_type) == ("fetch", "FileTooLarge")


def _hold(folder: str, holding: Event) -> None:
    storage.download = Downloads()  # type: ignore[assignment]
    with staged(URI, scratch=folder):
        holding.set()
        time.sleep(60)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    holding = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), holding))
    process.start()
    assert holding.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.glob("*.video"))
    monkeypatch.setattr(storage, "download", Downloads())
    with staged("s3://bucket/other.mp4", scratch=str(tmp_path)) as path:
        assert [p.name for p in tmp_path.glob("*.video")] == [path.name]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (storage.NotFound(URI, "read", "x", "y"), "NotFound"),
        (storage.TooLarge(URI, "read", "x", "y"), "FileTooLarge"),
        (storage.NoSpace(URI, "write", "x", "y"), "DiskFull"),
        (storage.AccessDenied(URI, "read", "x", "y"), "FetchError"),
        (storage.Unavailable(URI, "read", "x", "y"), "FetchError"),
        (OSError(errno.EIO, "broken"), "FetchError"),
    ],
)
def test_errors_have_names_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    monkeypatch.setattr(storage, "download", Downloads(error=error))
    monkeypatch.setattr(storage, "list_files", lambda folder: iter(()))
    with pytest.raises(VideoError) as caught, staged(URI, scratch=str(tmp_path)):
        raise AssertionError("not to be reached")
    assert (caught.value.stage, caught.value.error_type) == ("fetch", kind)
    assert URI in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    for location in ("http://example.org/a.mp4", "concat:/etc/passwd|/etc/hosts:x://"):
        with pytest.raises(VideoError) as caught, staged(location, scratch=str(tmp_path)):
            raise AssertionError("not to be reached")
        assert caught.value.stage == "fetch"


def test_clips_of_one_video_share_its_staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "v.mp4", 20)
    scratch = tmp_path / "scratch"
    seen: list[str] = []

    def download(uri: str, path: Path, **_: object) -> int:
        seen.append(uri)
        return Path(path).write_bytes(video.read_bytes())

    monkeypatch.setattr(storage, "download", download)
    requests = [ClipRequest(str(n), f"s3://bucket/{name}", 5, 10) for n, name in enumerate("aabaca")]
    reads = read_clips(requests, DecodeSettings(in_process=True, scratch=str(scratch)))
    assert all(isinstance(read.end, Finished) and list(read.frames) == [5, 6, 7, 8, 9] for read in reads)
    assert seen == [f"s3://bucket/{name}" for name in "abc"]
    assert list(scratch.iterdir()) == []


def test_from_a_real_store(s3_store: S3Store, tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 20)
    uri = s3_store.uri("videos/ü 1.mp4")
    storage.upload_file(video, uri)
    settings = DecodeSettings(in_process=True, scratch=str(tmp_path / "s"))
    small = DecodeSettings(in_process=True, scratch=str(tmp_path / "s"), limits=DecodeLimits(max_file_bytes=100))
    (good,) = read_clips([ClipRequest("a", uri)], settings)
    assert isinstance(good.end, Finished) and len(good.frames) == 20
    (large,) = read_clips([ClipRequest("a", uri)], small)
    assert isinstance(large.end, Failed) and large.end.error_type == "FileTooLarge"
    (absent,) = read_clips([ClipRequest("a", s3_store.uri("videos/none.mp4"))], settings)
    assert isinstance(absent.end, Failed) and (absent.end.stage, absent.end.error_type) == ("fetch", "NotFound")
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize("full_for", [2, 10**9])
def test_a_full_disk_is_waited_for_and_then_named(
    s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_for: int
) -> None:
    """Other clips give space back; where they do not, the clip fails by name, and what had come of it is gone."""
    content = os.urandom(3 << 20)
    (tmp_path / "v").write_bytes(content)
    uri = s3_store.uri(f"videos/full{full_for}.mp4")
    storage.upload_file(tmp_path / "v", uri)
    copy, tries = s3._copy, []

    def full(chunks: Any, file: Any, on_bytes: Any) -> None:
        tries.append(file.tell())
        if len(tries) > full_for:
            return copy(chunks, file, on_bytes)
        file.write(next(chunks))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(s3, "_copy", full)
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "2")
    scratch = tmp_path / "scratch"
    if full_for == 2:
        with staged(uri, scratch=str(scratch)) as path:
            assert path.read_bytes() == content
        assert len(tries) == 3
    else:
        with pytest.raises(VideoError) as caught, staged(uri, scratch=str(scratch)):
            raise AssertionError("not to be reached")
        assert (caught.value.stage, caught.value.error_type) == ("fetch", "DiskFull") and len(tries) > 2
    assert [path for path in scratch.iterdir() if path.suffix != "" or path.stat().st_size] == []
