"""Ray Data as the reader of manifests: a datasource of pieces, read and checked by tasks, consumed in order.

A datasource of our own, because none of Ray Data's says where in a file a row was: `read_text` has no line numbers,
`read_csv` makes 7 of `007`, and no reader splits one large text file among workers.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa
from ray.data import DataContext, Datasource, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from pipeline.errors import UsageError
from pipeline.manifest.files import ManifestPiece
from pipeline.storage import StorageError, parse

if TYPE_CHECKING:
    from ray.data import Dataset

Item = TypeVar("Item")
_COLUMN = "item"


class ManifestDatasource(Datasource):
    """Batches of pieces as read tasks; a row is one pickled item of what `read` yields for a piece.

    Args:
        batches: What each task reads.
        read: Reads one piece; runs on workers.
        local: The files are the driver's own, so tasks run on its node.
    """

    def __init__(
        self,
        batches: Sequence[tuple[ManifestPiece, ...]],
        read: Callable[[ManifestPiece], Iterable[Any]],
        *,
        local: bool,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._read = read
        self._local = local

    @property
    def supports_distributed_reads(self) -> bool:
        """Whether any node may read."""
        return not self._local

    def estimate_inmemory_data_size(self) -> int:
        """About the size of the files."""
        return sum(piece.end - piece.start for batch in self._batches for piece in batch)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """One task a batch, whatever parallelism is asked for: order and memory depend on it."""
        size = self.estimate_inmemory_data_size() // max(len(self._batches), 1)
        metadata = BlockMetadata(num_rows=None, size_bytes=size, exec_stats=None)
        return [ReadTask(partial(_blocks, batch, self._read), metadata) for batch in self._batches]


def read_pieces(
    batches: Iterable[tuple[ManifestPiece, ...]], read: Callable[[ManifestPiece], Iterable[Item]]
) -> Iterator[Item]:
    """What `read` yields for each piece, in the order of the pieces; workers run ahead, in bounded memory.

    Args:
        batches: Pieces that one task reads; consumed at once.
        read: Reads one piece; has to be picklable, and so has what it yields.

    Raises:
        StorageError, UsageError: The first that `read` raised.
    """
    tasks = list(batches)
    if not tasks:
        return
    local = parse(tasks[0][0].file.uri).is_local
    # On clusters whose head has no CPUs to give, tasks that must run there ask for none.
    at_once = min(os.cpu_count() or 1, len(tasks))
    limits = {"num_cpus": 0, "concurrency": at_once} if local else {"num_cpus": 1}
    dataset: Dataset = read_datasource(
        ManifestDatasource(tasks, read, local=local), override_num_blocks=len(tasks), **limits
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        for value in cast(pa.Table, block).column(_COLUMN):
            item = pickle.loads(value.as_py())
            if isinstance(item, StorageError | UsageError):
                raise item
            yield item


def _blocks(batch: Iterable[ManifestPiece], read: Callable[[ManifestPiece], Iterable[Any]]) -> Iterator[pa.Table]:
    # Errors travel as items: a raised one would be tried again, logged with its stack, and wrapped.
    try:
        for piece in batch:
            for item in read(piece):
                yield _block(item)
    except (StorageError, UsageError) as error:
        yield _block(error)


def _block(item: object) -> pa.Table:
    return pa.table({_COLUMN: pa.array([pickle.dumps(item)], pa.large_binary())})
