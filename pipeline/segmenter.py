"""The actor of a run: holds one network on one device and works on a few shards at once."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.clips import Clip
from pipeline.decode.settings import DecodeSettings
from pipeline.metrics import ActorMetrics
from pipeline.models import EngineBuilder, build_engine
from pipeline.options import SegmentOptions
from pipeline.parts import PartWriter
from pipeline.placement import Placement
from pipeline.progress import Tally
from pipeline.reporter import Reporter
from pipeline.scratch import scratch_folder
from pipeline.shard_run import ClipSettings, ShardRun, Stopped

logger = logging.getLogger(__name__)
RESTART_PAUSE_S = 5.0
HANG_S, LEAST_HANG_S = 120.0, 30.0


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the driver hands to every actor.

    Attributes:
        model: reference to the checked `RunModel` in the object store.
        control: handle of the run's `ControlRoom`.
        attempt: which try at its clips this run is: one more than that of the rows it forgot.
        keep_types: Arrow types of the manifest columns kept, by name.
        build_engine: makes an actor's engine of model, placement and precision.
    """

    options: SegmentOptions
    placement: Placement
    output: str
    run_id: str
    config_hash: str
    model: Any
    control: Any
    attempt: int
    keep_types: dict[str, Any]
    build_engine: EngineBuilder = build_engine


class Segmenter:
    """Tracks the clips of shards; one call takes one shard and answers with one small row.

    Rows go to the output by commits, never through Ray: a call that is repeated skips what is committed.
    """

    def __init__(self, plan: RunPlan) -> None:
        import ray

        try:
            self._set_up(plan)
        except Exception:
            if ray.get_runtime_context().was_current_actor_reconstructed:
                # Ray gives up an actor whose restart raises, and Ray Data would wait for it for ever; one that dies
                # is started once more, perhaps on another node.
                logger.exception("a tracker actor could not be started again")
                time.sleep(RESTART_PAUSE_S)
                os._exit(1)
            raise

    def _set_up(self, plan: RunPlan) -> None:
        import ray

        from pipeline.models import Geometry, resolve_precision

        self._plan = plan
        self._model = ray.get(plan.model)
        self._precision = resolve_precision(plan.options.precision, plan.placement)
        self._engine = plan.build_engine(self._model, plan.placement, self._precision)
        self._geometry = Geometry(plan.options.rotated_box)
        self._tally = Tally()
        self._stop = threading.Event()
        self._decode = DecodeSettings(
            limits=plan.options.limits,
            hang_seconds=min(HANG_S, max(LEAST_HANG_S, plan.options.max_clip_seconds)),
            chunk_bytes=plan.placement.chunk_bytes,
            max_staged_bytes=plan.options.max_staged_bytes,
            num_cpus=plan.placement.decode_cpus,
            node_id=ray.get_runtime_context().get_node_id(),
        )
        with warnings.catch_warnings():  # Ray's own property warns of another one that it uses
            warnings.simplefilter("ignore")
            restarted = ray.get_runtime_context().was_current_actor_reconstructed
        measure = _Measure(self._engine, self._tally, ActorMetrics(plan.run_id, restarted=restarted))
        actor = ray.get_runtime_context().get_actor_id() or "none"
        self._reporter = Reporter(actor, plan.control, self._tally, measure, self._stop)
        self._reporter.start()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Work through one shard (a batch of one row: ``name`` and ``clips``, a list of JSON texts)."""
        shard = str(batch["name"][0])
        clips = [Clip.from_json(text) for text in batch["clips"][0]]
        committed = self.run_shard(shard, clips)
        return {"name": [shard], "clips": [len(clips)], "committed": [committed]}

    def run_shard(self, shard: str, clips: list[Clip]) -> int:
        """Track the clips that are not committed yet; returns how many this call committed."""
        plan, options = self._plan, self._plan.options
        with scratch_folder() as scratch:
            writer = PartWriter(
                plan.output,
                shard,
                run_id=plan.run_id,
                config_hash=plan.config_hash,
                scratch=scratch,
                keep_types=plan.keep_types,
                attempt=plan.attempt,
            )
            done = writer.committed_clips()
            settings = ClipSettings(
                stride=options.stride,
                decoder=options.decoder,
                max_corrupt=options.max_corrupt,
                max_clip_seconds=options.max_clip_seconds,
                model=self._model.name,
                precision=self._precision,
                commit_every_s=options.commit_every,
                lanes=plan.placement.lanes,
            )
            run = ShardRun(
                [clip for clip in clips if clip.clip_id not in done],
                settings,
                self._decode,
                self._engine,
                self._geometry,
                writer,
                self._tally,
                self._stop,
            )
            try:
                return run.run()
            except Stopped:
                return 0
            finally:
                self._tally.drop(clip.clip_id for clip in clips)
                self._reporter.send()

    def __del__(self) -> None:  # called when the actor ends in peace
        if hasattr(self, "_reporter"):
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
