"""The process in which decord runs, alone. Started by path: it imports nothing of ours.

decord decodes ahead, to the end of the file, for as long as its process runs, so this process stops itself (SIGSTOP,
all threads) whenever it has nothing left to do, and its parent wakes it (SIGCONT) with the next command. Commands are
lines of JSON on standard input, answers lines of JSON on the descriptor given; frames go into shared memory.

    {"open": path, "threads": n, "shape": [h, w, 3]}   -> {"frames": n}
    {"fill": [k, ...], "at": byte}                     -> {"n": 1} a frame kept, {"n": 0} a frame dropped (k before
                                                          each), then {"filled": n}
    {"skip": k}                                        -> {"n": 0} a frame decoded and dropped, then {"ok": true}
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

    mapped = mmap.mmap(memory, 0)
    shared = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    out = os.fdopen(answers, "w", buffering=1)
    reader: Any = None
    shape: tuple[int, ...] = ()
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
                reader = None
                reader = decord.VideoReader(command["open"], num_threads=command["threads"], fault_tol=EXACT)
                shape = tuple(command["shape"])
                answer = {"frames": len(reader)}
            elif "fill" in command:
                at = command["at"]
                for skip in command["fill"]:
                    drop(reader, skip, out)
                    frame = reader.next()
                    if tuple(frame.shape) != shape:
                        raise ValueError(f"frame of {tuple(frame.shape)}, expected {shape}")
                    # One plain copy, where asnumpy makes two: who takes frames must be faster than who makes them,
                    # or decord's queue grows even while frames are asked for.
                    array = frame.handle.contents
                    size = shape[0] * shape[1] * shape[2]
                    ctypes.memmove(shared + at, array.data + array.byte_offset, size)
                    del frame, array
                    at += size
                    out.write('{"n": 1}\n')
                answer = {"filled": len(command["fill"])}
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
