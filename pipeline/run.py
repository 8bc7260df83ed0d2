"""One run of the job, from checked options to exit status: lease, recovery, plan, execution, report.

The order keeps the promise of the output: nothing is removed or written before the lease is held, and it is
given back only once no actor of this run writes any more.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from ray.exceptions import RayError

from pipeline import storage
from pipeline.alone import run_alone
from pipeline.control import BreakerOpen, Control, Watch
from pipeline.execute import run_shards
from pipeline.interrupt import interruptible, signal_name
from pipeline.lease import Lease, LeaseHeld, LeaseLost, acquire
from pipeline.manifest import ClipHashes
from pipeline.metrics import run_started
from pipeline.models import EngineBuilder, build_engine
from pipeline.options import SegmentOptions, UsageError
from pipeline.prepare import Prepared, config, finished_clips, prepare
from pipeline.progress import Counts, ProgressDisplay
from pipeline.recovery import forget_failed, remove_orphans
from pipeline.report import Figures, RunFacts, collect, write_report
from pipeline.segmenter import RunPlan
from pipeline.shards import Plan, missing, plan_shards, write_plan

logger = logging.getLogger(__name__)

FINISHED, FAILED, STRICT_FAILED, INTERRUPTED = 0, 1, 3, 130
RELEASE_WITHIN_S = 0.9  # of the 3 s that `ray job stop` leaves, also on a machine with more to do than it can
NOTE_WITHIN_S = 0.6
ROUNDS, AGAIN_ABOVE = 3, 100  # with so many clips an actor left, they are run in shards once more, else alone
RUNS_FOLDER, PLAN_FOLDER = "_runs", "plan"
FENCE_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)

# RuntimeError, ConnectionError and TimeoutError are what Ray raises beside its own errors.
EXPECTED = (BreakerOpen, LeaseLost, storage.StorageError, RayError, RuntimeError, ConnectionError, TimeoutError)


def run(options: SegmentOptions, *, build_engine: EngineBuilder = build_engine) -> int:
    """Run the job; returns its exit status (0, 1, 3 or 130).

    Args:
        options: what to do.
        build_engine: makes an actor's engine; the benchmarks measure the service with one that does no work.

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    with interruptible():
        try:
            prepared = prepare(options)
            if options.dry_run:
                from pipeline.dry_run import describe_plan

                print(describe_plan(prepared), flush=True)
                return FINISHED
            return _Run(prepared, build_engine).go()
        except KeyboardInterrupt:
            _say_interrupted()
            return INTERRUPTED
        except UsageError:
            raise
        except EXPECTED as error:
            _say(error)
            return FAILED


def _say_interrupted() -> None:
    print(f"interrupted by {signal_name()}: the same command resumes", file=sys.stderr, flush=True)


def _say(error: Exception) -> None:
    """One sentence on why the job failed, and where it happened if that is a fault of the program."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    print(f"error: {said[0]}", file=sys.stderr, flush=True)
    if not isinstance(error, EXPECTED):
        logger.error("this is a fault of the program; please report it", exc_info=error)


class _Run:
    """A prepared run; `go` takes it to its end."""

    def __init__(self, prepared: Prepared, build_engine: EngineBuilder = build_engine) -> None:
        self._prepared = prepared
        self._build_engine = build_engine
        self._options = prepared.options
        self._counts = Counts()
        self._attempt = 1
        self._began = time.monotonic()

    def go(self) -> int:
        """Hold the lease, do what is missing, give the lease back; returns the exit status."""
        try:
            lease = acquire(self._prepared.output, self._prepared.run_id, self._options.wait_for_lease)
        except LeaseHeld as error:
            raise UsageError(f"--output {storage.redact(self._prepared.output)}: {error}") from error
        try:
            status = self._work(lease)
        except KeyboardInterrupt:
            _say_interrupted()
            self._abandon(lease)
            status = INTERRUPTED
        except UsageError:
            raise
        except Exception as error:
            _say(error)
            status = FAILED
            self._stop_actors()
            self._finish_failed(lease)
        finally:
            lease.release()
        return status

    def _work(self, lease: Lease) -> int:
        prepared, options = self._prepared, self._options
        if options.retry_failed:
            finished_clips(prepared, ok_only=True)  # a run that is refused deletes nothing
            self._attempt = forget_failed(prepared.output, prepared.in_manifest).attempt + 1
        remove_orphans(prepared.output)
        done, todo = finished_clips(prepared)
        self._write("config.json", config(prepared))
        total = prepared.manifest.summary.clips
        print(
            f"run {prepared.run_id}: {total} clips, {total - todo} finished before, {todo} to do on "
            f"{prepared.placement.actors.maximum} {prepared.placement.device} actor(s)",
            file=sys.stderr,
            flush=True,
        )
        if todo:
            self._segment(done, todo, lease)
            # An actor that died between its two files has left one, and its shard's next attempt has written another.
            self._fence(lease)
            remove_orphans(prepared.output)
        self._remove_plans()
        return self._conclude()

    def _fence(self, lease: Lease) -> None:
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

    def _finish_failed(self, lease: Lease) -> None:
        """Leave the output and the report of a failed run in order, as far as the store lets it."""
        try:
            if lease.fence():  # else the output may be another run's by now, and the files are that run's
                remove_orphans(self._prepared.output)
                self._remove_plans()
            self._report(FAILED)
        except EXPECTED as error:
            logger.warning("what is left half-done is for the next run to remove: %s", error)

    def _segment(self, done: ClipHashes, todo: int, lease: Lease) -> None:
        """Run what is missing in shards; again what an outage took many of; and alone what is left then."""
        import ray

        prepared = self._prepared
        control = Control()
        plan = RunPlan(
            options=self._options,
            placement=prepared.placement,
            output=prepared.output,
            run_id=prepared.run_id,
            config_hash=prepared.config_hash,
            model=ray.put(prepared.model),
            control=control.room,
            attempt=self._attempt,
            keep_types={field.name: field.type for field in prepared.manifest.summary.kept},
            build_engine=self._build_engine,
        )
        run_started(prepared.run_id, todo, prepared.placement.actors.maximum)
        left = todo
        with ProgressDisplay(todo) as display:
            watch = Watch(control, display, self._options.max_failed, lambda: lease.lost)
            try:
                for _ in range(ROUNDS):
                    run_shards(self._planned(done, left), plan, watch)
                    done, left = finished_clips(prepared)
                    if left < AGAIN_ABOVE * prepared.placement.actors.maximum:
                        break
                if left:
                    logger.warning("%d clips have no row after their shards ended; running each alone", left)
                    run_alone((row.clip() for row in missing(prepared.manifest.rows(), done)), plan, watch)
            finally:
                with contextlib.suppress(RayError):
                    self._counts = control.counts()

    def _planned(self, done: ClipHashes, todo: int) -> Plan:
        """The plan of the clips that are missing, written in place of an earlier one."""
        self._remove_plans()
        planned = plan_shards(
            missing(self._prepared.manifest.rows(), done),
            config_hash=self._prepared.config_hash,
            clips_per_file=self._options.clips_per_file,
            concurrent_calls=self._prepared.placement.overlapping_calls,
            total_clips=todo,
        )
        return write_plan(planned, storage.join(self._prepared.run_folder, PLAN_FOLDER))

    def _remove_plans(self, *, until: float = math.inf) -> None:
        """Remove this run's plan, and those of runs that were killed: they are of no use to anybody."""
        runs = storage.join(self._prepared.output, RUNS_FOLDER)
        inside = f"/{PLAN_FOLDER}/"
        plans = (entry.uri for entry in storage.list_files(runs) if inside in entry.uri.removeprefix(runs))
        storage.delete_many(itertools.takewhile(lambda _: time.monotonic() < until, plans))

    def _conclude(self) -> int:
        """Check that every clip has exactly one row, write the report, print the last line."""
        prepared = self._prepared
        have, left = finished_clips(prepared)
        if left or have.duplicates(1):
            fault = f"{left} clips of the manifest have no row" if left else "a clip has more than one row"
            raise RuntimeError(f"{fault} in {storage.redact(prepared.output)}/clips: run the same command again")
        figures = self._figures()
        bad = figures.clips["failed"] + figures.clips["partial"]
        status = STRICT_FAILED if self._options.strict and bad else FINISHED
        self._report(status, figures)
        clips = figures.clips
        print(
            f"{clips['total']} clips: {clips['ok']} ok, {clips['partial']} partial, {clips['failed']} failed; "
            f"{figures.frames} frames in {storage.redact(prepared.output)}",
            flush=True,
        )
        return status

    def _figures(self) -> Figures:
        prepared = self._prepared
        facts = RunFacts(
            prepared.run_id,
            stride=self._options.stride,
            wall_s=time.monotonic() - self._began,
            actors=prepared.placement.actors.maximum,
            busy_s=self._counts.busy_s,
            commits=self._counts.commits,
        )
        return collect(prepared.output, facts, shown=self._options.report_clips)

    def _report(self, status: int, figures: Figures | None = None) -> None:
        """Write the report. The tables are whole without it: what goes wrong here is a warning."""
        if not self._options.report:
            return
        prepared = self._prepared
        run = {
            "run_id": prepared.run_id,
            "exit_status": status,
            "output": storage.redact(prepared.output),
            "started_at": prepared.started_at.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            figures = figures or self._figures()
            # A failed run ends at once, and may have no Ray any more to draw with.
            write_report(prepared.output, figures, run=run, config=config(prepared), gallery=status != FAILED)
        except Exception as error:
            logger.warning("the run has no report: %s", error)

    def _write(self, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, indent=2, default=str) + "\n"
        storage.write_bytes(storage.join(self._prepared.run_folder, name), text.encode())

    def _stop_actors(self) -> None:
        import ray
        from ray._private import auto_init_hook

        if self._prepared.owns_ray:
            # The Dataset's thread outlives this: it would start another Ray, and say at length that this one is gone.
            auto_init_hook.enable_auto_connect = False
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            ray.shutdown()

    def _abandon(self, lease: Lease) -> None:
        """End the actors, remove what they left half-done, and give the lease back, all within two seconds,
        for `ray job stop` kills after three.

        Removing is safe only while the lease is held: what is not removed by then, the next run removes.
        """
        deadline = time.monotonic() + RELEASE_WITHIN_S

        def clear() -> None:
            # Ending the actors can take long on a busy machine: the files are cleared meanwhile, and looked for again.
            stopping = threading.Thread(target=self._stop_actors, name="stop", daemon=True)
            stopping.start()
            while lease.fence() and time.monotonic() < deadline:
                ended = not stopping.is_alive()
                remove_orphans(self._prepared.output, until=deadline)
                self._remove_plans(until=deadline)
                if ended:
                    return
                stopping.join(max(0.0, deadline - time.monotonic()))

        clearing = threading.Thread(target=clear, name="clear", daemon=True)
        clearing.start()
        clearing.join(RELEASE_WITHIN_S)
        lease.release()
        note = threading.Thread(target=self._note_interrupt, name="note", daemon=True)
        note.start()
        note.join(NOTE_WITHIN_S)

    def _note_interrupt(self) -> None:
        """Leave the exit status where scripts look for it; the figures are for the run that ends the work."""
        with contextlib.suppress(storage.StorageError):
            run_id, now = self._prepared.run_id, datetime.now(UTC).isoformat(timespec="seconds")
            self._write("report.json", {"run_id": run_id, "exit_status": INTERRUPTED, "finished_at": now})
