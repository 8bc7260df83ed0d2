"""Reading ahead: several slow reads at once, their results in order, few of them held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Result], *, at_once: int = 16, name: str = "ahead"
) -> Iterator[tuple[Item, Result]]:
    """Each item with what `read` returns for it, in the order of the items.

    Args:
        items: consumed as a stream; at most twice `at_once` of them are taken before their turn.
        read: called from threads. What it raises is raised in the item's turn, and no later item is read then.
        at_once: calls of `read` at the same time.
        name: prefix of the threads' names.
    """
    with ThreadPoolExecutor(at_once, thread_name_prefix=name) as pool:
        pending: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                pending.append((item, pool.submit(read, item)))
                if len(pending) >= 2 * at_once:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()
