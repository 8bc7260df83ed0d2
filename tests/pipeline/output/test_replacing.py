"""Changed clips take the places of the old ones: wherever it is cut off, readers see old rows or new, each once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run, storage
from pipeline.output import lease, replacing
from tests.conftest import S3Store
from tests.pipeline.output.output_parts import check_promise, feed, read, remove_orphans, writer

OLD = {"a": "ok", "b": "ok", "c": "ok", "f": "failed", "p": "partial"}
NEW = {"b": "ok", "c": "failed", "f": "ok", "p": "partial"}
"""What becomes of the changed clips; `a` has not changed."""
OLD_FRAMES, NEW_FRAMES = 3, 5
WRITES = ("create", "replace", "upload_file", "delete_many")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local output with clips that wait, as `made` makes it."""
    folder = tmp_path_factory.mktemp("whole")
    made(str(folder / "out"), folder)
    return folder / "out"


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path, whole: Path) -> Callable[[str], str]:
    """A new copy of the whole output, by the name of its folder."""
    if request.param == "local":
        return lambda name: str(shutil.copytree(whole, tmp_path / name))
    store: S3Store = request.getfixturevalue("s3_store")

    def copied(name: str) -> str:
        uri = store.uri(f"replacing/{name}")
        for path in sorted(whole.rglob("*.parquet")):
            storage.upload_file(path, f"{uri}/{path.relative_to(whole).as_posix()}")
        return uri

    return copied


def made(output: str, scratch: Path) -> str:
    """An output of five clips, with four that wait to take the places of theirs."""
    with lease.acquire(output, "run-1", 0):
        with writer(output, scratch) as old:
            for clip_id, status in OLD.items():
                feed(old, clip_id, status, OLD_FRAMES)
            old.commit()
        staging = replacing.staging_uri(output)
        for shard, clip_ids in (("s", "bp"), ("t", "cf")):
            with writer(staging, scratch, shard=shard, leased=output) as new:
                for clip_id in clip_ids:
                    feed(new, clip_id, NEW[clip_id], NEW_FRAMES, clip_hash="ab" * 32)
                new.commit()
    return output


def seen(output: str) -> dict[str, str]:
    """Which rows of each clip a reader sees, `old` or `new`, after checking that they are all of its rows."""
    run = open_run(output)
    clips = run.clips().arrow().to_pylist()
    assert sorted(row["clip_id"] for row in clips) == sorted(OLD)
    out = {}
    for row in clips:
        clip_id = row["clip_id"]
        out[clip_id] = "new" if row["clip_hash"] == "ab" * 32 else "old"
        status, frames = (NEW[clip_id], NEW_FRAMES) if out[clip_id] == "new" else (OLD[clip_id], OLD_FRAMES)
        assert row["status"] == status
        assert run.masks(clip_id=clip_id).count() == (0 if status == "failed" else 2 * frames)
    return out


def killing(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> None:
    """Ends the process at the nth write to the store, before it or after it."""
    left = [at]

    def wrapped(name: str) -> Callable[..., Any]:
        write = getattr(storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Killed
            done = write(*arguments, **options)
            if left[0] == 0:
                raise Killed
            return done

        return call

    for name in WRITES:
        monkeypatch.setattr(storage, name, wrapped(name))


def test_readers_see_old_rows_or_new_ones_wherever_it_is_cut_off(
    output: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, ended = 0, False
    while not ended:
        cuts += 1
        uri = output(f"cut-{cuts}")
        assert set(seen(uri).values()) == {"old"}
        unchanged = _of_a(uri)
        replacing.note_replacement(uri)
        with monkeypatch.context() as patch:
            # Before the write and after it in turn: after one is before the next, but for what only the last leaves.
            killing(patch, (cuts + 1) // 2, after=cuts % 2 == 0)
            try:
                replacing.finish_replacing(uri)
                ended = True
            except Killed:
                pass
        assert seen(uri)["a"] == "old"
        remove_orphans(uri)
        assert seen(uri) == {"a": "old", "b": "new", "c": "new", "f": "new", "p": "new"}
        assert check_promise(uri) == {"a": "ok", **NEW}
        assert _of_a(uri) == unchanged
        assert list(storage.list_files(uri, "_runs/repl")) == []
    assert cuts > 18


def _of_a(uri: str) -> list[dict[str, Any]]:
    return [row for row in read(uri, "masks") if row["clip_id"] == "a"]


def test_without_a_note_what_waits_is_left_alone(tmp_path: Path, whole: Path) -> None:
    uri = str(shutil.copytree(whole, tmp_path / "out"))
    assert replacing.finish_replacing(uri) == 0
    remove_orphans(uri)
    assert set(seen(uri).values()) == {"old"}
    replacing.note_replacement(uri)
    assert replacing.finish_replacing(uri) == 4
