"""The end of a run: its actors stopped, what they left half-done removed, its plans gone, its lease given back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pipeline import storage
from pipeline.cluster.ray_private import never_connect_by_itself
from pipeline.output.index import OutputIndex
from pipeline.output.lease import Lease, LeaseLost
from pipeline.output.recovery import remove_orphans
from pipeline.plan.prepare import Prepared
from pipeline.plan.shards import remove_plans

FENCE_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)
RELEASE_WITHIN_S = 0.9  # of the 3 s that `ray job stop` leaves, also on a machine with more to do than it can
NOTE_WITHIN_S = 0.6


class Ending:
    """Ends a run in each of the ways that it can end."""

    def __init__(self, prepared: Prepared, index: OutputIndex) -> None:
        self._prepared, self._index = prepared, index

    def fence(self, lease: Lease) -> None:
        """Fence the lease, with patience for a store that fails for a moment."""
        for pause in FENCE_PAUSES_S:
            time.sleep(pause)
            if lease.fence():
                return
            if lease.lost:
                break
        raise LeaseLost(
            f"this run lost its hold on {storage.redact(self._prepared.output)}: run the same command again"
        )

    def clear(self, lease: Lease) -> None:
        """Remove what the actors left half-done, if the output is still this run's."""
        if lease.fence():
            remove_orphans(self._index)
            self.remove_plans()

    def remove_plans(self, *, until: float = float("inf")) -> None:
        """Remove this run's plan, and those of runs that were killed; nothing more after `until` (`time.monotonic`)."""
        remove_plans(self._prepared.output, until=until)

    def stop_actors(self) -> None:
        """End the actors, with the Ray that this run started or joined."""
        import ray

        if self._prepared.owns_ray:
            # The Dataset's thread outlives this: it would start another Ray, and say at length that this one is gone.
            never_connect_by_itself()
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            ray.shutdown()

    def abandon(self, lease: Lease, note_interrupt: Callable[[], None]) -> None:
        """End the actors, remove what they left half-done, and give the lease back, all within two seconds,
        for `ray job stop` kills after three.

        Removing is safe only while the lease is held: what is not removed by then, the next run removes.
        """
        deadline = time.monotonic() + RELEASE_WITHIN_S

        def clear() -> None:
            # Ending the actors can take long on a busy machine: the files are cleared meanwhile, and looked for again.
            stopping = threading.Thread(target=self.stop_actors, name="stop", daemon=True)
            stopping.start()
            while lease.fence() and time.monotonic() < deadline:
                ended = not stopping.is_alive()
                remove_orphans(self._index, until=deadline)
                self.remove_plans(until=deadline)
                if ended:
                    return
                stopping.join(max(0.0, deadline - time.monotonic()))

        clearing = threading.Thread(target=clear, name="clear", daemon=True)
        clearing.start()
        clearing.join(RELEASE_WITHIN_S)
        lease.release()
        note = threading.Thread(target=note_interrupt, name="note", daemon=True)
        note.start()
        note.join(NOTE_WITHIN_S)
