"""A run of the real job while its processes are killed and its object store fails, by a seeded plan.

The job is `jobs/segment.py` on a local cluster of several nodes, with the bundled model in fp32 and its output and half
of its videos on a real S3 server behind a proxy. When the last event has happened the run is left to end, and its
tables are compared with those of an undisturbed run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from infra.local import seaweed
from tests.chaos.cluster import LocalCluster
from tests.chaos.corpus import Comparison, compare, write_corpus
from tests.chaos.plan import BETWEEN, DECODING, DECODING_PAUSE_S, KILLS, OUTAGES, Plan
from tests.chaos.proxy import FaultProxy, Request, Verdict

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Figures:
    """What happened, and what came of it."""

    plan: Plan
    kills: Counter[str] = field(default_factory=Counter)
    outages: Counter[str] = field(default_factory=Counter)
    rounds: list[Comparison] = field(default_factory=list)
    drivers: int = 0
    failed_drivers: list[int] = field(default_factory=list)
    failed_requests: int = 0
    reference_s: float = 0.0
    wall_s: float = 0.0

    @property
    def good(self) -> bool:
        enough = self.kills.total() >= self.plan.kills and self.outages.total() >= self.plan.outages
        return enough and bool(self.rounds) and all(one.good for one in self.rounds) and not self.failed_drivers

    def lines(self) -> list[str]:
        """The figures as text."""
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        outages = ", ".join(f"{name} {count}" for name, count in sorted(self.outages.items()))
        text = [
            f"seed {self.plan.seed}: {self.plan.clips} clips on {self.plan.nodes} nodes, {len(self.rounds)} output(s), "
            f"{self.wall_s:.0f} s (undisturbed {self.reference_s:.0f} s)",
            f"{self.kills.total()} kills: {kills}",
            f"{self.outages.total()} outages: {outages}; {self.failed_requests} requests failed",
            f"{self.drivers} drivers, of which ended with an error of their own: {self.failed_drivers or 'none'}",
        ]
        text += [
            f"output {number}: {one.clips} clips, {one.rows} rows; clips lost {one.lost}, doubled {one.doubled}; rows "
            f"lost {one.rows_lost}, doubled {one.rows_doubled}; clip rows that differ {one.different}; masks not equal "
            f"{one.unequal}, lowest IoU {one.lowest_iou:.4f}; orphan files {list(one.orphans)}"
            for number, one in enumerate(self.rounds)
        ]
        return text


def run_chaos(plan: Plan, folder: Path, say: Callable[[str], None] = print) -> Figures:
    """Run the plan in an empty folder; the folder keeps the drivers' logs and both tables."""
    settings = seaweed.S3Settings(port=seaweed.free_port_block())
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
    # Workers that nobody has asked for yet cost seconds of two cores.
    os.environ.update({"RAY_prestart_worker_first_driver": "0"})
    os.environ.pop("RAY_ADDRESS", None)
    with seaweed.start(settings, folder / "s3"), FaultProxy(settings.port, seed=plan.seed) as proxy:
        os.environ.update(settings.environment(), AWS_ENDPOINT_URL=proxy.endpoint)
        with LocalCluster(plan.nodes, plan.cpus) as cluster:
            # Ray ends the process at once when it is asked to end; what was started here has to go with it.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            return _Chaos(plan, folder, settings.uri(), proxy, cluster, say).go()


class _Chaos:
    def __init__(
        self, plan: Plan, folder: Path, base: str, proxy: FaultProxy, cluster: LocalCluster, say: Callable[[str], None]
    ) -> None:
        self._plan, self._folder, self._base = plan, folder, base
        self._proxy, self._cluster, self._say = proxy, cluster, say
        self._rng = random.Random(plan.seed)
        self._figures = Figures(plan)
        self._driver: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._output = ""
        self._ours = False
        self._outage_ends = 0.0
        self._comes_back: list[float] = []
        self._decoding_killed: deque[float] = deque([float("-inf")] * 2, maxlen=2)
        self._armed = 0  # events that wait for a commit
        self._missed: deque[str] = deque()  # and those whose commit came of a process that was gone by then

    def go(self) -> Figures:
        plan, figures = self._plan, self._figures
        manifest = write_corpus(self._folder / "videos", plan.clips, seed=plan.seed, remote=f"{self._base}/videos")
        reference = str(self._folder / "reference")
        started = time.monotonic()
        try:
            self._start(manifest, reference)
            if self._wait(plan.limit_s) != 0:
                raise RuntimeError(f"the undisturbed run failed:\n{self._tail()}")
            figures.reference_s = time.monotonic() - started
            self._event(f"undisturbed run: {figures.reference_s:.0f} s")
            deck = self._deck()
            while deck or self._armed or not figures.rounds:
                self._output = f"{self._base}/out{len(figures.rounds)}"
                deck = self._round(manifest, deck)
                figures.rounds.append(compare(self._output, reference))
        finally:
            self._kill_driver()
        figures.wall_s = time.monotonic() - started
        figures.failed_requests = self._proxy.faults.total()
        return figures

    def _deck(self) -> list[str]:
        share = self._plan.kills / (sum(KILLS.values()) + len(BETWEEN))
        kills = [name for name, count in KILLS.items() for _ in range(round(count * share))]
        kills += [BETWEEN[number % 2] for number in range(round(2 * share))]
        while len(kills) < self._plan.kills:
            kills.append(self._rng.choice(("decoder", "actor")))
        deck = kills + [f"outage-{OUTAGES[number % len(OUTAGES)][0]}" for number in range(self._plan.outages)]
        self._rng.shuffle(deck)
        return deck

    def _round(self, manifest: str, deck: list[str]) -> list[str]:
        """One output, from nothing to status 0; returns the events that are still to come."""
        self._start(manifest, self._output)
        next_event = time.monotonic() + self._rng.uniform(*self._plan.pause_s)
        while True:
            if time.monotonic() - self._began > self._plan.limit_s:
                raise TimeoutError(f"no end after {self._plan.limit_s:.0f} s:\n{self._tail()}")
            if time.monotonic() > self._outage_ends and self._proxy.fault != "none":
                self._proxy.set("none")
                self._event("the store is well again")
            if self._comes_back and time.monotonic() > self._comes_back[0]:
                self._comes_back.pop(0)
                self._cluster.add_node()
                self._event("a new node")
            assert self._driver is not None
            status = self._driver.poll()
            if status == 0:
                self._proxy.set("none")
                self._event("the run ended")
                return deck
            if status is not None:
                if not self._ours:
                    self._figures.failed_drivers.append(status)
                    self._say(self._tail())
                    if len(self._figures.failed_drivers) > 3:
                        raise RuntimeError("the job fails again and again")
                self._event(f"the driver ended with status {status}; the same command again")
                self._start(manifest, self._output)
            while self._missed:
                deck.append(self._missed.popleft())
            if deck and time.monotonic() > next_event:
                event = deck.pop(0)
                if not self._do(event):
                    deck.insert(self._rng.randrange(len(deck) + 1), event)  # nothing of that kind is there to kill
                next_event = time.monotonic() + self._rng.uniform(*self._plan.pause_s)
            time.sleep(0.1)

    def _do(self, event: str) -> bool:
        if event.startswith("outage-"):
            if self._proxy.fault != "none":
                return False
            fault, seconds, share = next(one for one in OUTAGES if one[0] == event.removeprefix("outage-"))
            self._outage_ends = time.monotonic() + seconds
            self._proxy.set(fault, share=share)
            self._figures.outages[fault] += 1
            self._event(f"the store: {fault} for {seconds:g} s")
            return True
        if event in BETWEEN:
            self._armed += 1
            self._proxy.hook(self._is_commit, lambda request: self._between(event, request))
            self._event(f"{event}: at the next commit")
            return True
        if event in DECODING and time.monotonic() - self._decoding_killed[0] < DECODING_PAUSE_S:
            return False
        if event == "driver":
            done = self._kill_driver()
        elif event == "machine":
            self._kill_driver()
            self._cluster.kill_all()
            self._cluster.start()
            self._comes_back.clear()
            done = 1
        elif event in ("node", "node-for-good"):
            done = self._cluster.kill_node(self._rng)
            if done and event == "node":
                self._comes_back.append(time.monotonic() + self._rng.uniform(1.0, 8.0))
        elif event == "decoder-segv":
            done = self._cluster.kill_worker("decoder", self._rng, signal.SIGSEGV)
        else:
            done = self._cluster.kill_worker(event, self._rng)  # type: ignore[arg-type]
        if done:
            if event in DECODING:
                self._decoding_killed.append(time.monotonic())
            self._figures.kills[event] += 1
            self._event(f"killed: {event}")
        return bool(done)

    def _is_commit(self, request: Request) -> bool:
        folder = f"{self._output.removeprefix('s3:/')}/clips/part-"
        return request.method == "PUT" and request.path.startswith(folder)

    def _between(self, event: str, request: Request) -> Verdict:
        """The masks part is there; the commit itself is lost, or done without the actor's knowing."""
        killed = self._cluster.kill_client_of(request.client_port) if event == "actor-between" else self._kill_driver()
        verdict: Verdict = ("drop" if event == "actor-between" else "deaf") if killed else "pass"
        self._event(f"killed: {event} ({killed}), {verdict}")
        if killed:
            self._figures.kills[event] += 1
        else:
            self._missed.append(event)
        self._armed -= 1
        return verdict

    def _start(self, manifest: str, output: str) -> None:
        self._ours = False
        self._figures.drivers += 1
        command = [sys.executable, "-m", "tests.chaos.driver", "--manifest", manifest, "--output", output]
        command += ["--precision", "fp32", "--device", "cpu", "--clips-per-file", "3", "--commit-every", "3"]
        command += ["--actors", str(self._plan.actors)]
        with self._log().open("wb") as log:
            self._driver = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "RAY_ADDRESS": self._cluster.address},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _kill_driver(self) -> int:
        if self._driver is None or self._driver.poll() is not None:
            return 0
        self._ours = True
        self._driver.kill()
        self._driver.wait()
        return 1

    def _wait(self, seconds: float) -> int:
        assert self._driver is not None
        return self._driver.wait(seconds)

    def _log(self) -> Path:
        return self._folder / f"driver-{self._figures.drivers:03d}.log"

    def _tail(self, lines: int = 25) -> str:
        return "\n".join(self._log().read_text(errors="replace").splitlines()[-lines:])

    def _event(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {text}")
