"""decord in a process of its own, which can be stopped, measured and killed."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.protocol import BEAT_SECONDS

CHILD = Path(__file__).with_name("decord_child.py")
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class DecordGone(Exception):
    """decord raised, died, hung or took too much memory: it gives no further frame."""


class DecordProcess:
    """One decord process and the memory shared with it; serves many videos in turn, and starts when first needed.

    Stopped between commands, since decord reads ahead for as long as its process runs.
    """

    def __init__(self, shared_bytes: int, *, max_resident: int = 1_200_000_000) -> None:
        self.shared_bytes = shared_bytes
        self._max_resident = max_resident
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._buffer = b""
        self._memory: mmap.mmap | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self._process.pid if self._process is not None else None

    def shared(self) -> NDArray[np.uint8]:
        """The shared memory, uint8 [shared_bytes]."""
        assert self._memory is not None
        return np.frombuffer(self._memory, np.uint8)

    def send(self, command: dict[str, Any]) -> None:
        """Give a command; its answer is read by `answer`, in order."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise DecordGone("its process died") from None
        self._wake()

    def answer(self, patience: float) -> Generator[None, None, dict[str, Any]]:
        """Wait for the next answer, giving signs of life; the generator's return value is the answer.

        Raises DecordGone where it is an error, nothing moved for `patience` seconds, or the process grew too large.
        """
        moved = beat = time.monotonic()
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                moved = time.monotonic()
                message: dict[str, Any] = json.loads(line)
                if "error" in message:
                    raise DecordGone(f"it raised {message['error']}")
                if "n" not in message:
                    return message
                self._check_size()
            now = time.monotonic()
            if now - moved > patience:
                raise DecordGone(f"it hung: no frame in {patience:.0f} s")
            if now - beat > BEAT_SECONDS:
                beat = now
                yield None
            if select.select([self._answers], [], [], 0.2)[0]:
                data = os.read(self._answers, 65536)
                if not data:
                    raise DecordGone("its process died")
                self._buffer += data
            else:
                self._wake()

    def close(self) -> None:
        """Kill the process, if it runs. The next command starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            os.close(self._answers)
            self._process, self._memory, self._buffer = None, None, b""

    def _start(self) -> None:
        with tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
            file.truncate(self.shared_bytes)
            self._memory = mmap.mmap(file.fileno(), self.shared_bytes)
            self._answers, theirs = os.pipe()
            arguments = [sys.executable, "-P", str(CHILD), str(file.fileno()), str(theirs), str(os.getpid())]
            try:
                self._process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(file.fileno(), theirs),
                    env={name: os.environ[name] for name in _KEPT if name in os.environ},
                )
            finally:
                os.close(theirs)

    def _wake(self) -> None:
        # Repeated while waiting: the process may stop itself just after a command arrived.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)

    def _check_size(self) -> None:
        assert self._process is not None
        try:
            with open(f"/proc/{self._process.pid}/statm") as statm:
                resident = int(statm.read().split()[1]) * mmap.PAGESIZE
        except (OSError, IndexError):
            return
        if resident > self._max_resident:
            raise DecordGone(f"it read ahead to {resident >> 20} MiB")
