"""Training workers get as many CPUs as all of them can have, on nodes that have what they need."""

from __future__ import annotations

import pytest

from pipeline.training.place import NodeSize, cpus_each, room


@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpus", "share"),
    [
        ([NodeSize(8)], 1, False, 8),
        ([NodeSize(8)], 3, False, 2),
        ([NodeSize(8), NodeSize(8)], 2, False, 8),
        ([NodeSize(8), NodeSize(4)], 3, False, 4),
        ([NodeSize(64), NodeSize(4)], 2, False, 32),
        ([NodeSize(2)], 3, False, 0),
        ([], 1, False, 0),
        ([NodeSize(64), NodeSize(16, 1)], 1, True, 16),
        ([NodeSize(64), NodeSize(16, 1), NodeSize(12, 1)], 2, True, 12),
        ([NodeSize(32, 4)], 4, True, 8),
        ([NodeSize(32, 1), NodeSize(8, 2)], 3, True, 4),
        ([NodeSize(96), NodeSize(32, 8), NodeSize(32, 8)], 16, True, 4),
        ([NodeSize(64), NodeSize(1, 2)], 2, True, 0),
        ([NodeSize(64), NodeSize(1, 2)], 2, False, 32),
    ],
)
def test_the_largest_share_with_which_all_workers_fit(
    nodes: list[NodeSize], workers: int, on_gpus: bool, share: int
) -> None:
    assert cpus_each(nodes, workers, on_gpus=on_gpus) == share
    if share:
        assert room(nodes, share, on_gpus=on_gpus) >= workers > room(nodes, share + 1, on_gpus=on_gpus)
