"""One run at a time writes an output: the lease, an object that its holder keeps overwriting.

A holder refreshes `<output>/_runs/lease.json` every 10 seconds by conditional overwrite. Whoever wants it watches:
unchanged for 60 seconds by the watcher's own clock, so that clocks of machines need not agree, it is taken over,
again by conditional overwrite, so that of several watchers one gets it. A lease that is given back stays as
an object marked as released.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import TracebackType

from pipeline import storage
from pipeline.output.names import RUNS_FOLDER
from pipeline.storage.clock import CLOCK, Clock

log = logging.getLogger(__name__)

REFRESH_S = 10.0
EXPIRE_S = 60.0
_RELEASING = storage.Settings(retry_s=0.0, connect_timeout_s=0.7, read_timeout_s=1.2)


class LeaseHeld(Exception):
    """Another run holds the output."""


class LeaseLost(Exception):
    """This run does not hold the output any more; it must not commit."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease.

    Attributes:
        run_id, host, pid, started: the run, its driver's machine and process, and when it took the lease.
        beat: counts the refreshes, so that every refresh changes the object.
        fenced: the run still holds the output, but its actors commit nothing more.
        released: the run is done with the output.
    """

    run_id: str
    host: str
    pid: int
    started: str
    beat: int = 0
    fenced: bool = False
    released: bool = False

    def __str__(self) -> str:
        return f"run {self.run_id} (host {self.host}, process {self.pid}, started {self.started})"

    def to_json(self) -> bytes:
        """The content of the lease object."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Holder:
        """Reads a lease object; a damaged one has an unknown holder and expires like any other."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return cls(run_id="unknown", host="unknown", pid=0, started="unknown")


def lease_uri(output_uri: str) -> str:
    """Where the lease of an output lies."""
    return storage.join(output_uri, RUNS_FOLDER, "lease.json")


def held_by(output_uri: str, run_id: str, settings: storage.Settings | None = None) -> bool:
    """Whether this run holds the output and may commit, by the object as it is now. Raises StorageError."""
    try:
        holder = Holder.from_json(storage.read_bytes(lease_uri(output_uri), settings))
    except storage.NotFound:
        return False
    return holder.run_id == run_id and not holder.fenced and not holder.released


def require(output_uri: str, run_id: str, settings: storage.Settings | None = None) -> None:
    """Raises LeaseLost unless this run holds the output and may commit."""
    if not held_by(output_uri, run_id, settings):
        raise LeaseLost(f"run {run_id} does not hold {storage.redact(output_uri)} any more; it commits nothing")


class Lease:
    """A lease that is held and refreshed by a thread of its own until `release`, or until it is lost.

    Made by `acquire`. Usable as a context manager, which releases it.
    """

    def __init__(
        self,
        output_uri: str,
        holder: Holder,
        version: str,
        refresh_s: float,
        clock: Clock,
    ) -> None:
        self._uri, self._holder, self._version = lease_uri(output_uri), holder, version
        self._refresh_s, self._clock = refresh_s, clock
        self._stop, self._lost, self._writing = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._refresh, name="lease", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """The run that holds it."""
        return self._holder.run_id

    @property
    def lost(self) -> bool:
        """Whether another run was found to have taken it."""
        return self._lost.is_set()

    def fence(self) -> bool:
        """Keeps the lease, but lets this run's own actors commit nothing more; call it before a final clean-up.

        A commit under way withdraws itself when it looks at the lease. Returns whether the store took it.
        """
        with self._writing:
            if self.lost or self._stop.is_set():
                return False
            self._holder = replace(self._holder, fenced=True)
            try:
                return self._beat()
            except storage.StorageError as error:
                log.warning("the lease could not be fenced: %s", error)
                return False

    def release(self) -> None:
        """Gives the lease back within about two seconds; if the store does not answer, it expires by itself."""
        self._stop.set()
        if self.lost or not self._writing.acquire(timeout=0.5):
            return
        try:
            with contextlib.suppress(storage.StorageError):
                released = replace(self._holder, released=True)
                storage.replace(self._uri, released.to_json(), self._version, _RELEASING)
        finally:
            self._writing.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _refresh(self) -> None:
        pause = self._refresh_s
        while not self._clock.wait(self._stop, pause):
            try:
                with self._writing:
                    if self._stop.is_set():
                        return
                    held = self._beat()
                pause = self._refresh_s
            except storage.StorageError as error:
                log.warning("the lease could not be refreshed: %s", error)
                pause, held = min(2.0, self._refresh_s), True
            if not held:
                self._lost.set()
                log.error("another run took the lease %s", self._uri)
                return

    def _beat(self) -> bool:
        self._holder = replace(self._holder, beat=self._holder.beat + 1)
        version = storage.replace(self._uri, self._holder.to_json(), self._version, storage.QUICK)
        if version is None:
            # An earlier beat may have arrived although its answer did not.
            try:
                current = storage.read_versioned(self._uri, storage.QUICK)
            except storage.NotFound:
                return False
            if Holder.from_json(current.data).run_id != self.run_id:
                return False
            version = current.version
        self._version = version
        return True


def acquire(
    output_uri: str,
    run_id: str,
    wait_s: float,
    *,
    refresh_s: float = REFRESH_S,
    expire_s: float = EXPIRE_S,
    clock: Clock = CLOCK,
) -> Lease:
    """Waits for the lease of an output and takes it.

    Args:
        output_uri: the output folder.
        run_id: this run's id, unique for all time.
        wait_s: longest time to wait for another holder, in seconds; 0 tries once.
        refresh_s: how often the holder refreshes it.
        expire_s: unchanged for so long, it counts as abandoned.
        clock: tells the time, for the lease too.

    Raises:
        LeaseHeld: another run still holds it; names the holder.
        StorageError: the lease cannot be read or written.
    """
    uri = lease_uri(output_uri)
    candidate = Holder(run_id, socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
    give_up = clock.monotonic() + wait_s
    seen, since = "", clock.monotonic()
    while True:
        try:
            current = storage.read_versioned(uri)
        except storage.NotFound:
            version = storage.create(uri, candidate.to_json())
        else:
            now = clock.monotonic()
            if current.version != seen:
                seen, since = current.version, now
            holder = Holder.from_json(current.data)
            version = None
            if holder.released or now - since >= expire_s:
                version = storage.replace(uri, candidate.to_json(), current.version)
            elif now >= give_up:
                raise LeaseHeld(
                    f"{storage.redact(output_uri)} is held by {holder}, seen unchanged for {now - since:.0f} s;"
                    f" stop that run, or wait longer than the {wait_s:g} s of --wait-for-lease"
                    f" (the lease of a run that was killed expires after {expire_s:g} s)"
                )
        if version is not None:
            return Lease(output_uri, candidate, version, refresh_s, clock)
        clock.sleep(max(0.01, min(1.0, expire_s / 20, give_up - clock.monotonic())))
