"""The actor of a run: holds one network on one device and works on a few shards at once."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from model.errors import DeviceLost
from model.tracker import params_from_json
from pipeline.actor.call_gate import CallGate
from pipeline.actor.clip_run import ClipSettings
from pipeline.actor.guard import COMPILE_S, START_S, DeviceGuard, GuardedEngine
from pipeline.actor.run_plan import RunPlan
from pipeline.actor.shard import ShardRun, Stopped
from pipeline.actor.worker_place import actor_id, begin, device_place, lose, stand_aside, started_again
from pipeline.clip import Clip
from pipeline.decode.settings import DecodeSettings
from pipeline.output.commit import PartWriter
from pipeline.progress.prometheus import ActorMetrics
from pipeline.progress.reporter import Reporter
from pipeline.progress.tally import Tally
from pipeline.storage.scratch import scratch_folder

logger = logging.getLogger(__name__)
RESTART_PAUSE_S = 5.0
HANG_S, LEAST_HANG_S = 120.0, 30.0


class Segmenter:
    """Tracks the clips of shards; one call takes one shard and answers with one small row.

    Rows go to the output by commits, never through Ray: a call that is repeated skips what is committed.
    """

    def __init__(self, plan: RunPlan) -> None:
        try:
            self._set_up(plan)
        except Exception:
            if started_again():
                # Ray gives up an actor whose restart raises, and Ray Data would wait for it for ever; one that dies
                # is started once more, perhaps on another node.
                logger.exception("a tracker actor could not be started again")
                time.sleep(RESTART_PAUSE_S)
                os._exit(1)
            raise

    def _set_up(self, plan: RunPlan) -> None:
        import ray

        from model.network.cuda import cuda_fault

        options = plan.options
        self._plan = plan
        model = ray.get(plan.model)
        place = device_place(plan.placement.device)
        self._engine: GuardedEngine | None = None
        if not begin(plan, place):
            return
        timeout_s = options.device_timeout + (COMPILE_S if plan.placement.compiled else 0.0)
        self._guard = DeviceGuard(timeout_s, functools.partial(lose, plan, place))
        with self._guard.waiting(max(START_S, timeout_s)):
            try:
                engine = plan.build_engine(model, plan.placement, options.precision)
            except Exception as error:
                fault = cuda_fault() if plan.placement.device == "cuda" else None
                if fault is not None:
                    raise DeviceLost(fault) from error
                raise
        self._engine = GuardedEngine(engine, self._guard)
        if engine.trials:
            plan.control.note_steps.remote(engine.device_kind, [asdict(trial) for trial in engine.trials])
        self._settings = ClipSettings(
            stride=options.stride,
            decoder=options.decoder,
            max_corrupt=options.max_corrupt,
            max_clip_seconds=options.max_clip_seconds,
            rotated_box=options.rotated_box,
            params=params_from_json(model.tracker),
            model=plan.model_name,
            precision=engine.precision,
        )
        self._tally = Tally()
        self._stop = threading.Event()
        self._gate = CallGate(plan.placement.calls, self._tally.ever, self._stop)
        self._decode = DecodeSettings(
            limits=options.limits,
            hang_seconds=min(HANG_S, max(LEAST_HANG_S, options.max_clip_seconds)),
            chunk_bytes=plan.placement.chunk_bytes,
            max_staged_bytes=options.max_staged_bytes,
            num_cpus=plan.placement.decode_cpus,
            node_id=ray.get_runtime_context().get_node_id(),
        )
        measure = _Measure(engine, self._tally, ActorMetrics(plan.run_id, restarted=started_again()))
        self._reporter = Reporter(actor_id(), plan.control, self._tally, measure, self._stop)
        self._reporter.start()

    def identity(self) -> tuple[str, str]:
        """This actor's id, and the precision that it computes in, also where `auto` was asked for."""
        return actor_id(), self._settings.precision

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Work through one shard (a batch of one row: ``name`` and ``clips``, a list of JSON texts)."""
        shard = str(batch["name"][0])
        clips = [Clip.from_json(text) for text in batch["clips"][0]]
        committed = self.run_shard(shard, clips)
        return {"name": [shard], "clips": [len(clips)], "committed": [committed]}

    def run_shard(self, shard: str, clips: list[Clip]) -> int:
        """Track the clips that are not committed yet; returns how many this call committed."""
        plan = self._plan
        if self._engine is None:
            stand_aside(plan)
            return 0
        with self._gate.entered() as entered, scratch_folder() as scratch:
            if not entered:
                return 0
            writer = PartWriter(
                plan.output,
                shard,
                run_id=plan.run_id,
                config_hash=plan.config_hash,
                scratch=scratch,
                keep_types=plan.keep_types,
                attempt=plan.attempt,
                leased=plan.leased,
            )
            done = writer.committed_clips()
            run = ShardRun(
                [clip for clip in clips if clip.clip_id not in done],
                self._settings,
                self._decode,
                self._engine,
                writer,
                self._tally,
                lanes=plan.placement.lanes,
                commit_every_s=plan.options.commit_every,
                stop=self._stop,
            )
            try:
                return run.run()
            except Stopped:
                return 0
            except DeviceLost as error:  # an error of this call would be the shard's; the end of the process is not
                self._guard.lose(str(error))
                threading.Event().wait()
                raise
            finally:
                self._tally.drop(clip.clip_id for clip in clips)
                self._reporter.send()

    def __del__(self) -> None:  # Ray calls it where an actor ends without a crash
        if hasattr(self, "_reporter"):
            self._guard.close()
            self._reporter.close()


class _Measure:
    """Brings counts and metrics up to date; apart from `Segmenter`, which the reporter must not keep alive."""

    def __init__(self, engine: Any, tally: Tally, metrics: ActorMetrics) -> None:
        self._engine, self._tally, self._metrics, self._busy_s = engine, tally, metrics, 0.0

    def __call__(self) -> None:
        stats = self._engine.stats()
        self._tally.add(busy_s=stats.busy_s - self._busy_s)
        self._busy_s = stats.busy_s
        self._metrics.report(self._tally.ever(), stats)
