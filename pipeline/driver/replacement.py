"""Clips that changed under the same id, run again and put in the places of their old rows."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pipeline.actor.engine import EngineBuilder
from pipeline.driver.segmentation import Segmentation
from pipeline.manifest import ClipHashes
from pipeline.output.index import OutputIndex
from pipeline.output.lease import Lease, require
from pipeline.output.replacing import finish_replacing, forget_staged, note_replacement, staging_uri
from pipeline.plan.prepare import Prepared
from pipeline.plan.todo import to_replace
from pipeline.progress.control import RoomState
from pipeline.progress.counts import Counts

StagedSegment = Callable[[OutputIndex, ClipHashes, int, Lease, int], Counts]


class Replacement:
    """Runs the clips of a prepared run that the output has with another video, range or objects, and replaces these.

    Args:
        prepared: the run.
        index: of its output.
        build_engine: makes an actor's engine.
        note_devices: takes what is known of the devices, in the end.
        segment: in place of the cluster's actors; the first argument is the index of the folder that the rows go to.

    Attributes:
        replaced: clips that have new rows by this run.
    """

    def __init__(
        self,
        prepared: Prepared,
        index: OutputIndex,
        build_engine: EngineBuilder,
        note_devices: Callable[[RoomState], None],
        segment: StagedSegment | None = None,
    ) -> None:
        self._prepared, self._index, self._build_engine = prepared, index, build_engine
        self._note_devices = note_devices
        self._segment = segment or self._by_actors
        self.replaced = 0

    def __call__(self, lease: Lease, attempt: int) -> Counts:
        """Run what changed, unless an earlier run has, and replace it; returns what the actors reported.

        Args:
            lease: of the output.
            attempt: which try at its clips this run is.

        Raises:
            RuntimeError: clips that changed have no new rows.
            StorageError: the store failed.
            LeaseLost: another run took the output.
        """
        prepared, counts = self._prepared, Counts()
        self._index.refresh()
        staged = OutputIndex(staging_uri(prepared.output))
        staged.refresh()
        if not self._usable(staged):
            forget_staged(prepared.output)
            staged.refresh()
        done, todo = to_replace(prepared.manifest, self._index.hashes, staged.hashes)
        if todo:
            print(f"{todo} clips changed since they were finished: running them again", file=sys.stderr, flush=True)
            counts = self._segment(staged, done, todo, lease, attempt)
            staged.refresh()
            _, todo = to_replace(prepared.manifest, self._index.hashes, staged.hashes)
            if todo:
                raise RuntimeError(f"{todo} changed clips have no new rows: run the same command again")
        if staged.parts:

            def check() -> None:
                require(prepared.output, prepared.run_id)

            check()
            note_replacement(prepared.output)
            self.replaced = finish_replacing(prepared.output, check)
        return counts

    def _usable(self, staged: OutputIndex) -> bool:
        """Whether the clips that an earlier run left are those of this manifest and configuration, each once."""
        hashes = {config_hash for part in staged.parts.values() for config_hash in part.origin.config_hashes}
        absent, _, changed = staged.hashes.tally(self._prepared.manifest.hashes)
        return hashes <= {self._prepared.config_hash} and not absent and not changed and not staged.hashes.duplicates(1)

    def _by_actors(self, staged: OutputIndex, done: ClipHashes, todo: int, lease: Lease, attempt: int) -> Counts:
        prepared = self._prepared

        def finished() -> tuple[ClipHashes, int]:
            return to_replace(prepared.manifest, self._index.hashes, staged.hashes)

        return Segmentation(prepared, staged, self._build_engine, self._note_devices, finished)(
            done, todo, lease, attempt
        )
