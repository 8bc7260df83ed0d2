"""One run of the job, from checked options to exit status: lease, recovery, plan, execution, report.

The order keeps the promise of the output: nothing is removed or written before the lease is held, and it is
given back only once no actor of this run writes any more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from ray.exceptions import RayError

from pipeline import storage
from pipeline.actor.engine import EngineBuilder, build_engine
from pipeline.disk import is_full
from pipeline.driver.ending import Ending
from pipeline.driver.output_disk import NoSpaceLeft, OutputDisk
from pipeline.driver.replacement import Replacement, StagedSegment
from pipeline.driver.run_report import RunReport
from pipeline.driver.segmentation import Segmentation
from pipeline.driver.watch import BreakerOpen, NoDeviceLeft
from pipeline.errors import UsageError
from pipeline.job import FAILED, FINISHED, INTERRUPTED, print_error, run_job, signal_name
from pipeline.manifest import ClipHashes
from pipeline.output.index import OutputIndex
from pipeline.output.lease import Lease, LeaseHeld, LeaseLost, acquire
from pipeline.output.recovery import forget_failed, remove_orphans
from pipeline.plan.options import SegmentOptions
from pipeline.plan.prepare import Prepared, prepare
from pipeline.plan.todo import finished_clips
from pipeline.progress.counts import Counts

logger = logging.getLogger(__name__)

# RuntimeError, ConnectionError and TimeoutError are what Ray raises beside its own errors.
EXPECTED = (
    BreakerOpen, NoDeviceLeft, NoSpaceLeft, LeaseLost, storage.StorageError, RayError, RuntimeError, ConnectionError,
    TimeoutError,
)  # fmt: skip
_INTERRUPTED = "interrupted by {signal}: the same command resumes"

Segment = Callable[[ClipHashes, int, Lease, int], Counts]
"""Segments the clips that are not finished; see `Segmentation.__call__`."""


def run(options: SegmentOptions, *, build_engine: EngineBuilder = build_engine) -> int:
    """Run the job; returns its exit status (0, 1, 3 or 130).

    Args:
        options: what to do.
        build_engine: makes an actor's engine; the benchmarks measure the service with one that does no work.

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """

    def work() -> int:
        prepared = prepare(options)
        if options.dry_run:
            from pipeline.driver.dry_run import describe_plan

            print(describe_plan(prepared), flush=True)
            return FINISHED
        return SegmentRun(prepared, build_engine=build_engine).run()

    return run_job(work, interrupted=_INTERRUPTED, expected=EXPECTED)


class SegmentRun:
    """A prepared run; `run` takes it to its end.

    Args:
        prepared: the run.
        build_engine: makes an actor's engine.
        segment: in place of the cluster's actors; `replace` for clips that changed.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        build_engine: EngineBuilder = build_engine,
        segment: Segment | None = None,
        replace: StagedSegment | None = None,
    ) -> None:
        self._prepared, self._options = prepared, prepared.options
        self._report = RunReport(prepared)
        self._index = OutputIndex(prepared.output, self._report.reader)
        self._ending = Ending(prepared, self._index)
        self._segment = segment or Segmentation(
            prepared, self._index, build_engine, self._report.note_devices, self._finished
        )
        self._replacement = Replacement(prepared, self._index, build_engine, self._report.note_devices, replace)

    def run(self) -> int:
        """Hold the lease, do what is missing, give the lease back; returns the exit status."""
        try:
            lease = acquire(self._prepared.output, self._prepared.run_id, self._options.wait_for_lease)
        except LeaseHeld as error:
            raise UsageError(f"--output {storage.redact(self._prepared.output)}: {error}") from error
        try:
            return self._work(lease)
        except KeyboardInterrupt:
            print(_INTERRUPTED.format(signal=signal_name()), file=sys.stderr, flush=True)
            self._ending.abandon(lease, self._report.note_interrupt)
            return INTERRUPTED
        except UsageError:
            raise
        except Exception as error:
            print_error(error)
            if not isinstance(error, EXPECTED) and not is_full(error):
                logger.error("this is a fault of the program; please report it", exc_info=error)
            self._finish_failed(lease)
            return FAILED
        finally:
            lease.release()

    def _work(self, lease: Lease) -> int:
        prepared, options, attempt = self._prepared, self._options, 1
        self._index.refresh()
        self._finished(ok_only=options.retry_failed)  # a run that is refused deletes nothing
        if options.retry_failed:
            attempt = forget_failed(self._index, prepared.in_manifest).attempt + 1
        remove_orphans(self._index)
        done, todo = self._finished()
        self._report.write_config()
        total = prepared.manifest.summary.clips
        print(
            f"run {prepared.run_id}: {total} clips, {total - todo} finished before, {todo} to do on "
            f"{prepared.placement.actors.maximum} {prepared.placement.device} actor(s)",
            file=sys.stderr,
            flush=True,
        )
        if todo:
            self._report.counts = self._segment(done, todo, lease, attempt)
        if options.replace_changed:
            self._report.counts.add(self._replacement(lease, attempt))
            self._report.replaced = self._replacement.replaced
        if todo or options.replace_changed:
            # An actor that died between its two files has left one, and its shard's next attempt has written another.
            self._ending.fence(lease)
            remove_orphans(self._index)
        self._ending.remove_plans()
        return self._report.conclude(self._index)

    def _finished(self, *, ok_only: bool = False) -> tuple[ClipHashes, int]:
        return finished_clips(self._prepared, self._index, ok_only=ok_only, changed=self._options.replace_changed)

    def _finish_failed(self, lease: Lease) -> None:
        """Leave the output and the report of a failed run in order, as far as the store lets it."""
        self._ending.stop_actors()
        try:
            self._ending.clear(lease)
            if not OutputDisk(self._prepared.output).is_full:  # removing may have freed enough
                self._report.write(self._index, FAILED)
        except EXPECTED as error:
            logger.warning("what is left half-done is for the next run to remove: %s", error)
