"""The store that a node's workers make batches from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.training.cache import by_tenths, digest, publish, scratch
from pipeline.training.sets import local_set, set_state


def node_store(
    data: Sequence[str], cache: Path, *, split: str, stride: int, longest_side: int, say: Callable[[str], None]
) -> Path:
    """The training store of these sets on this node, decoded where an earlier run has not.

    Args:
        say: receives progress lines.

    Raises:
        StorageError, ValueError: a table, video or picture cannot be read; names it.
    """
    from model.training.data.sources import all_pictures, find_sets
    from model.training.data.training_store import INDEX, write_store

    folder = cache / "stores" / digest([set_state(uri) for uri in data], split, stride, longest_side)
    if (folder / INDEX).exists():
        return folder
    sets = find_sets([local_set(uri, cache, split, say=say) for uri in data])
    say(f"decoding {', '.join(data_set.name for data_set in sets)} into {folder}")

    def progress(name: str, done: int, total: int) -> None:
        by_tenths(say, f"decoding {name}")(done, total)

    with scratch(cache) as work:
        pictures_of_sets = all_pictures(sets, split=split, stride=stride, progress=progress)
        pictures, objects = write_store(pictures_of_sets, work / "store", longest_side=longest_side)
        publish(work / "store", folder)
    say(f"{pictures} pictures with {objects} objects")
    return folder
