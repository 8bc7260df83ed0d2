"""A local Ray that is slow to start is tried again; what is wrong otherwise is said at once."""

from __future__ import annotations

import pytest

from pipeline.cluster.connect import start_ray

SLOW = (
    "The current node timed out during startup. This could happen because some of the raylet failed to startup",
    "System error: Failed to connect to GCS. Please check if the GCS server is running",
)


def _fail(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> list[Exception]:
    """Have the starts of Ray fail so, one after the other; gives those that are left."""
    import ray

    left = list(errors)

    def init(**_: object) -> None:
        if left:
            raise left.pop(0)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return left


def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    left = _fail(monkeypatch, *map(RuntimeError, SLOW))
    start_ray()
    assert left == []


def test_the_third_try_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    left = _fail(monkeypatch, *[RuntimeError(SLOW[0])] * 4)
    with pytest.raises(RuntimeError, match="timed out"):
        start_ray()
    assert len(left) == 1


def test_what_waiting_does_not_mend_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left = _fail(monkeypatch, ValueError("num_cpus"), ValueError("num_cpus"))
    with pytest.raises(ValueError, match="num_cpus"):
        start_ray()
    assert len(left) == 1
