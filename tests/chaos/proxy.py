"""A proxy in front of an object store that fails on demand: errors, throttling, silence, cuts, and hooks.

It listens on loopback and speaks just enough HTTP/1.1 to see where a request begins and ends; everything else passes
through byte by byte, so that signatures stay valid.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

Fault = Literal["none", "cut", "silent", "throttle", "error", "slow", "torn"]
Verdict = Literal["pass", "drop", "headless", "deaf"]
"""What becomes of a hooked request: let through, dropped before the store sees it, cut off after its headers as by a
client that died there, or done but never answered."""

_BODY = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>"
_ANSWERS = {"throttle": (503, "Slow Down", "SlowDown"), "error": (500, "Internal Server Error", "InternalError")}
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; `path` without the query, `client_port` of the connection it came by."""

    method: str
    path: str
    headers: dict[str, str]
    client_port: int

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


@dataclass(slots=True)
class _Hook:
    matches: Callable[[Request], bool]
    action: Callable[[Request], Verdict]
    times: int


@dataclass(slots=True)
class FaultProxy:
    """Use as a context manager. `fault` may be changed at any time from any thread.

    Attributes:
        fault: what happens to the share `share` of requests: `silent` never answers, `throttle` is 503 SlowDown,
            `error` 500, `slow` waits `delay_s` before each, `torn` breaks off in the middle of answers; `cut` breaks
            every connection.
        seen: requests by method; `faults` those that a fault or hook met.
    """

    upstream_port: int
    seed: int = 0
    fault: Fault = "none"
    share: float = 1.0
    delay_s: float = 0.5
    port: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    _hooks: list[_Hook] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread = field(default_factory=threading.Thread)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _random: random.Random = field(default_factory=random.Random)

    def __enter__(self) -> Self:
        self._random.seed(self.seed)
        up = threading.Event()

        async def listen() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
            self.port = server.sockets[0].getsockname()[1]
            up.set()

        def work() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(listen())
            self._loop.run_forever()

        self._thread = threading.Thread(target=work, name="proxy", daemon=True)
        self._thread.start()
        if not up.wait(20):
            raise TimeoutError("the proxy does not listen")
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(10)
        self._loop.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, fault: Fault, *, share: float = 1.0) -> None:
        """Change the fault; a cut also breaks the connections that are open."""
        self.share, self.fault = share, fault
        if fault == "cut":
            self._loop.call_soon_threadsafe(self._break)

    def _break(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def hook(self, matches: Callable[[Request], bool], action: Callable[[Request], Verdict], times: int = 1) -> None:
        """At the next `times` requests that match, `action` runs, and the request waits for its verdict."""
        self._hooks.append(_Hook(matches, action, times))

    def _hooked(self, request: Request) -> Callable[[Request], Verdict] | None:
        for one in self._hooks:
            if one.times > 0 and one.matches(request):
                one.times -= 1
                return one.action
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "cut":
            self.faults["cut"] += 1
            writer.transport.abort()
            return
        self._open.add(writer)
        back: asyncio.Task[None] | None = None
        store: asyncio.StreamWriter | None = None
        try:
            answers, store = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            deaf = asyncio.Event()
            back = asyncio.create_task(self._answer(answers, writer, deaf))
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = _parse(head, writer.get_extra_info("peername")[1])
                self.seen[request.method] += 1
                action = self._hooked(request)
                if action is not None:
                    self.faults["hook"] += 1
                    verdict = await asyncio.to_thread(action, request)
                    if verdict == "drop":
                        return
                    if verdict == "headless":
                        store.write(head)
                        await store.drain()
                        await asyncio.sleep(0.2)
                        return
                    if verdict == "deaf":
                        deaf.set()
                elif not await self._admit(request, reader, writer):
                    return
                store.write(head)
                await _relay(request, reader, store)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, OSError):
            pass
        finally:
            self._open.discard(writer)
            for one in (writer, store):
                if one is not None:
                    one.close()
            if back is not None:
                back.cancel()

    async def _admit(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the request goes on to the store under the present fault."""
        fault = self.fault
        if fault == "none" or self._random.random() >= self.share:
            return True
        self.faults[fault] += 1
        if fault == "silent":
            while self.fault == "silent":
                await asyncio.sleep(0.2)
            return False
        if fault == "slow":
            await asyncio.sleep(self.delay_s)
            return True
        if fault in _ANSWERS:
            status, reason, code = _ANSWERS[fault]
            if "expect" not in request.headers:
                await reader.readexactly(request.length)
            body = _BODY.format(code=code).encode()
            kind = f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(f"HTTP/1.1 {status} {reason}\r\n{kind}".encode())
            writer.write(b"" if request.method == "HEAD" else body)
            await writer.drain()
            return False
        return True

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while piece := await answers.read(_PIECE):
                interim = piece.startswith(b"HTTP/1.1 100")
                if deaf.is_set() and not interim:
                    break
                if self.fault == "torn" and len(piece) > 600 and self._random.random() < self.share:
                    self.faults["torn"] += 1
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    break
                writer.write(piece)
                await writer.drain()
        writer.transport.abort() if deaf.is_set() else writer.close()


def _parse(head: bytes, client_port: int) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    return Request(method, target.split("?", 1)[0], headers, client_port)


async def _relay(request: Request, reader: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
    """Pass the request's body on."""
    if "chunked" in request.headers.get("transfer-encoding", ""):
        while True:
            line = await reader.readline()
            store.write(line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            store.write(await reader.readexactly(size + 2))
            await store.drain()
        while (line := await reader.readline()) != b"\r\n":
            store.write(line)
        store.write(b"\r\n")
    left = request.length
    while left > 0:
        piece = await reader.read(min(_PIECE, left))
        if not piece:
            raise ConnectionResetError
        store.write(piece)
        await store.drain()
        left -= len(piece)
    await store.drain()
