"""Scratch folders go with their process, however it ends, and never sooner."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

from pipeline.storage.scratch import scratch_folder, sweep


def test_a_folder_is_empty_private_and_gone_after_use(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder, scratch_folder(tmp_path) as other:
        assert folder != other and list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def _use(parent: str, using: Event) -> None:
    with scratch_folder(Path(parent)) as folder:
        (folder / "rows").write_bytes(b"x" * 1000)
        using.set()
        signal.pause()


def test_what_a_killed_process_left_goes_with_the_next_and_the_living_keep_theirs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    users = []
    for _ in range(2):
        using = context.Event()
        process = context.Process(target=_use, args=(str(tmp_path), using))
        process.start()
        assert using.wait(30)
        users.append(process)
    assert len(list(tmp_path.glob("*/rows"))) == 2
    killed, living = users
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    with scratch_folder(tmp_path):
        assert len(list(tmp_path.glob("*/rows"))) == 1
        assert sweep(tmp_path) == 0
    living.kill()
    living.join()
    assert sweep(tmp_path) == 1 and list(tmp_path.iterdir()) == []


def test_folders_made_while_others_sweep_stay_whole(tmp_path: Path) -> None:
    wrong: list[object] = []

    def use() -> None:
        for number in range(50):
            try:
                with scratch_folder(tmp_path) as folder:
                    (folder / "file").write_text(str(number))
                    if (folder / "file").read_text() != str(number):
                        wrong.append(number)
            except OSError as error:
                wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and list(tmp_path.iterdir()) == []
