"""One run at a time: refused while another lives, taken over when it is dead, and the loser knows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.output import lease
from tests.conftest import S3Store
from tests.pipeline.fake_clock import FakeClock


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty output folder of each kind."""
    if request.param == "local":
        return str(tmp_path / "run")
    store: S3Store = request.getfixturevalue("s3_store")
    return store.uri(f"lease/{tmp_path.name}")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def _abandon(held: lease.Lease) -> None:
    """Ends a holder as kill -9 would: it refreshes no more and releases nothing."""
    held._stop.set()


def test_second_run_is_refused_by_name(output: str, clock: FakeClock) -> None:
    with lease.acquire(output, "first", 0, refresh_s=10, expire_s=60, clock=clock):
        assert lease.held_by(output, "first") and not lease.held_by(output, "second")
        start = clock.now
        with pytest.raises(lease.LeaseHeld) as refused:
            lease.acquire(output, "second", 120, expire_s=60, clock=clock)
        assert clock.now - start >= 120
        assert lease.held_by(output, "first")
    message = str(refused.value)
    assert output in message and "run first" in message and "process" in message
    assert "--wait-for-lease" in message


def test_released_lease_is_free_at_once(output: str) -> None:
    first = lease.acquire(output, "first", 0)
    start = time.monotonic()
    first.release()
    assert time.monotonic() - start < 2.0
    assert not lease.held_by(output, "first")
    second = lease.acquire(output, "second", 0)
    assert lease.held_by(output, "second")
    first.release()
    assert lease.held_by(output, "second")
    second.release()


def test_waiting_run_gets_a_released_lease(output: str, clock: FakeClock) -> None:
    first = lease.acquire(output, "first", 0, clock=clock)
    clock.after(45, first.release)
    start = clock.now
    lease.acquire(output, "second", 120, clock=clock).release()
    assert 45 <= clock.now - start < 47


def test_killed_run_expires_and_one_of_the_waiting_gets_it(output: str) -> None:
    _abandon(lease.acquire(output, "dead", 0))
    start = time.monotonic()

    def wait(i: int) -> lease.Lease | None:
        try:
            return lease.acquire(output, f"heir-{i}", 4.0, refresh_s=0.3, expire_s=1.5)
        except lease.LeaseHeld as refused:
            assert "heir-" in str(refused)
            return None

    with ThreadPoolExecutor(3) as pool:
        heirs = [held for held in pool.map(wait, range(3)) if held is not None]
    assert len(heirs) == 1 and lease.held_by(output, heirs[0].run_id)
    assert time.monotonic() - start >= 1.5
    heirs[0].release()


def test_refreshing_outlives_the_expiry(output: str, clock: FakeClock) -> None:
    with lease.acquire(output, "first", 0, clock=clock) as first:
        with pytest.raises(lease.LeaseHeld):
            lease.acquire(output, "second", 3 * lease.EXPIRE_S, clock=clock)
        assert not first.lost


def test_a_killed_run_expires_after_a_minute(output: str, clock: FakeClock) -> None:
    _abandon(lease.acquire(output, "dead", 0, clock=clock))
    start = clock.now
    with pytest.raises(lease.LeaseHeld, match="run dead .* seen unchanged for 55 s"):
        lease.acquire(output, "early", 55, clock=clock)
    lease.acquire(output, "heir", 120, clock=clock).release()
    assert clock.now - start < 55 + 62


def test_holder_learns_that_it_lost(output: str, clock: FakeClock) -> None:
    first = lease.acquire(output, "first", 0, clock=clock)
    storage.write_bytes(lease.lease_uri(output), lease.Holder("second", "h", 1, "now").to_json())
    clock.sleep(lease.REFRESH_S)
    assert first.lost
    with pytest.raises(lease.LeaseLost, match=r"run first does not hold .* any more"):
        lease.require(output, "first")
    first.release()
    assert lease.held_by(output, "second")


def test_outage_is_survived(output: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats that fail are tried again; a beat whose answer was lost does not look like another holder."""
    real, calls = storage.replace, []

    def flaky(uri: str, data: bytes, version: str, settings: storage.Settings | None = None) -> str | None:
        calls.append(version)
        if len(calls) in (1, 3):
            raise storage.Unavailable(uri, "write", "cut", "wait")
        answer = real(uri, data, version, settings)
        if len(calls) == 2:
            raise storage.Unavailable(uri, "write", "answer lost", "wait")
        return answer

    monkeypatch.setattr(storage, "replace", flaky)
    with lease.acquire(output, "first", 0, clock=clock) as first:
        clock.sleep(2.0 + 2 * 2.0 + 4 * lease.REFRESH_S)  # three beats that failed are tried again soon
        assert len(calls) >= 6 and not first.lost and lease.held_by(output, "first")


def test_fenced_lease_is_held_but_permits_no_commit(output: str, clock: FakeClock) -> None:
    with lease.acquire(output, "first", 0, clock=clock) as first:
        assert first.fence()
        assert not lease.held_by(output, "first")
        with pytest.raises(lease.LeaseHeld):
            lease.acquire(output, "second", 1.5 * lease.EXPIRE_S, clock=clock)
        assert not lease.held_by(output, "first") and not first.lost
    lease.acquire(output, "second", 0).release()
    assert not first.fence()


def test_damaged_lease_expires_like_any_other(output: str, clock: FakeClock) -> None:
    storage.write_bytes(lease.lease_uri(output), b"{not json")
    with pytest.raises(lease.LeaseHeld, match="run unknown"):
        lease.acquire(output, "second", 50, clock=clock)
    lease.acquire(output, "second", 120, clock=clock).release()


def test_no_lease_is_nobodys(output: str) -> None:
    with pytest.raises(lease.LeaseLost):
        lease.require(output, "first")
