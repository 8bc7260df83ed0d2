"""Training workers get as many CPUs as all of them can have, on nodes that have what they need."""

from __future__ import annotations

import pytest

from pipeline.training.place import Node, cpus_each, room


@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpus", "share"),
    [
        ([Node(8)], 1, False, 8),
        ([Node(8)], 3, False, 2),
        ([Node(8), Node(8)], 2, False, 8),
        ([Node(8), Node(4)], 3, False, 4),
        ([Node(64), Node(4)], 2, False, 32),
        ([Node(2)], 3, False, 0),
        ([], 1, False, 0),
        ([Node(64), Node(16, 1)], 1, True, 16),
        ([Node(64), Node(16, 1), Node(12, 1)], 2, True, 12),
        ([Node(32, 4)], 4, True, 8),
        ([Node(32, 1), Node(8, 2)], 3, True, 4),
        ([Node(96), Node(32, 8), Node(32, 8)], 16, True, 4),
        ([Node(64), Node(1, 2)], 2, True, 0),
        ([Node(64), Node(1, 2)], 2, False, 32),
    ],
)
def test_the_largest_share_with_which_all_workers_fit(
    nodes: list[Node], workers: int, on_gpus: bool, share: int
) -> None:
    assert cpus_each(nodes, workers, on_gpus=on_gpus) == share
    if share:
        assert room(nodes, share, on_gpus=on_gpus) >= workers > room(nodes, share + 1, on_gpus=on_gpus)
