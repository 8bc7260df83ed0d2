"""Bounded retries with back-off, around whole operations."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.storage.errors import TRANSLATED, NoSpace, Unavailable, translate

Result = TypeVar("Result")

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 10.0


def retrying(
    uri: str,
    action: str,
    budget_s: float,
    operation: Callable[[], Result],
    progress: Callable[[], int] | None = None,
) -> Result:
    """Calls `operation`, again after transient failures, until it works or `budget_s` seconds have passed.

    The waits double from a quarter of a second to ten, each shortened by up to half at random so that many
    workers do not return to a throttling store at once. A full disk counts as transient: other clips give
    space back. Where `progress` tells how far a long operation has come, the seconds count from the last try
    that came further.

    Raises:
        StorageError: of the last try, or of the first that no retry can help.
    """
    give_up = time.monotonic() + budget_s
    wait = _FIRST_WAIT_S
    furthest = progress() if progress else 0
    while True:
        try:
            return operation()
        except TRANSLATED as error:
            failure = translate(uri, action, error)
            if progress and progress() > furthest:
                furthest, wait = progress(), _FIRST_WAIT_S
                give_up = time.monotonic() + budget_s
            left = give_up - time.monotonic()
            if not isinstance(failure, Unavailable | NoSpace) or left <= 0:
                raise failure from None
        time.sleep(min(wait * random.uniform(0.5, 1.0), left))
        wait = min(2 * wait, _LONGEST_WAIT_S)
