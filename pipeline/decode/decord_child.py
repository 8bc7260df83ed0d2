"""The process in which decord runs, alone. Started by path: it imports nothing of ours.

decord decodes ahead without limit for as long as its process runs, so this process stops itself (SIGSTOP, all threads)
whenever it has nothing left to do, and its parent wakes it (SIGCONT) with the next command. Commands are lines of JSON
on standard input, answers lines of JSON on the descriptor given; frames go into shared memory.

    {"open": path, "threads": n, "shape": [h, w, 3]}   -> {"frames": n}
    {"seek": index}                                    -> {"ok": true}
    {"skip": k}                                        -> {"n": 0} a frame decoded and dropped, then {"ok": true}
    {"fill": n, "at": byte, "skip": k}                 -> {"n": 1} a frame kept, {"n": 0} a frame dropped (k before
                                                          each but the very first), then {"filled": n}
    {"close": true}                                    -> {"ok": true}

An error is {"error": message}, and the reader is gone.
"""

import contextlib
import ctypes
import json
import mmap
import os
import select
import signal
import sys
from typing import Any, TextIO

EXACT = "1e-9"
"""decord's fault_tol for which the first repeated frame is an error (0 and -1 mean: repeat without a word)."""


def drop(reader: Any, count: int, out: TextIO) -> None:
    for _ in range(count):
        reader.next()
        out.write('{"n": 0}\n')


def main(memory: int, answers: int, parent: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        return
    import decord
    import numpy as np

    shared = np.frombuffer(mmap.mmap(memory, 0), np.uint8)
    out = os.fdopen(answers, "w", buffering=1)
    reader: Any = None
    fresh, shape = True, ()
    commands = os.fdopen(0, "rb", buffering=0)
    pending = b""
    while True:
        while b"\n" not in pending:
            if reader is not None and not select.select([commands], [], [], 0)[0]:
                os.kill(os.getpid(), signal.SIGSTOP)
            data = commands.read(65536)
            if not data:
                return
            pending += data
        line, pending = pending.split(b"\n", 1)
        command = json.loads(line)
        answer: dict[str, Any]
        try:
            if "open" in command:
                reader, fresh = None, True
                reader = decord.VideoReader(command["open"], num_threads=command["threads"], fault_tol=EXACT)
                shape = tuple(command["shape"])
                answer = {"frames": len(reader)}
            elif "seek" in command:
                reader.seek_accurate(command["seek"])
                answer = {"ok": True}
            elif "fill" in command:
                at = command["at"]
                for _ in range(command["fill"]):
                    drop(reader, 0 if fresh else command["skip"], out)
                    frame, fresh = reader.next().asnumpy(), False
                    if frame.shape != shape:
                        raise ValueError(f"frame of {frame.shape}, expected {shape}")
                    shared[at : at + frame.nbytes] = frame.reshape(-1)
                    at += frame.nbytes
                    out.write('{"n": 1}\n')
                answer = {"filled": command["fill"]}
            elif "skip" in command:
                drop(reader, command["skip"], out)
                answer = {"ok": True}
            else:
                reader = None
                answer = {"ok": True}
        except Exception as error:
            reader = None
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        out.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
