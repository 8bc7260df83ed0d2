"""The work of a run: what is missing in shards, again what an outage took many of, and alone what is left then."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from ray.exceptions import RayError

from pipeline import storage
from pipeline.actor.engine import EngineBuilder
from pipeline.actor.run_plan import RunPlan
from pipeline.cluster.nodes import living_nodes
from pipeline.driver.alone import run_alone
from pipeline.driver.execute import run_shards
from pipeline.driver.output_disk import OutputDisk
from pipeline.driver.watch import Watch
from pipeline.manifest import ClipHashes
from pipeline.output.index import OutputIndex
from pipeline.output.lease import Lease
from pipeline.plan.placement import observe_cluster
from pipeline.plan.prepare import Prepared
from pipeline.plan.shards import PLAN_FOLDER, Plan, plan_shards, remove_plans, write_plan
from pipeline.plan.todo import finished_clips, missing
from pipeline.progress.control import Control, RoomState
from pipeline.progress.counts import Counts
from pipeline.progress.devices import DevicePlace
from pipeline.progress.display import ProgressDisplay
from pipeline.progress.prometheus import run_started

logger = logging.getLogger(__name__)

ROUNDS, AGAIN_ABOVE = 3, 100  # with so many clips an actor left, they are run in shards once more, else alone


class Segmentation:
    """Segments the clips of a prepared run that have no row.

    Args:
        prepared: the run.
        index: of the folder that the rows go to: the output, or one inside it.
        build_engine: makes an actor's engine.
        note_devices: takes what is known of the devices, in the end.
        finished: the clips not to run, and how many are to do, by the index as it is; by default those with a row.
    """

    def __init__(
        self,
        prepared: Prepared,
        index: OutputIndex,
        build_engine: EngineBuilder,
        note_devices: Callable[[RoomState], None],
        finished: Callable[[], tuple[ClipHashes, int]] | None = None,
    ) -> None:
        self._prepared, self._options, self._index = prepared, prepared.options, index
        self._build_engine = build_engine
        self._note_devices = note_devices
        self._finished = finished or (lambda: finished_clips(prepared, index))

    def __call__(self, done: ClipHashes, todo: int, lease: Lease, attempt: int) -> Counts:
        """Run what is missing; returns what the actors reported.

        Args:
            done: the clips that are finished.
            todo: how many are not.
            lease: of the output; the work stops where it is lost.
            attempt: which try at its clips this run is.
        """
        import ray

        prepared = self._prepared
        control = Control()
        plan = RunPlan(
            options=self._options,
            placement=prepared.placement,
            output=self._index.output,
            leased=prepared.output,
            run_id=prepared.run_id,
            config_hash=prepared.config_hash,
            model=ray.put(prepared.model),
            model_name=prepared.model.name,
            control=control.room,
            attempt=attempt,
            keep_types={field.name: field.type for field in prepared.manifest.summary.kept},
            build_engine=self._build_engine,
        )
        run_started(prepared.run_id, todo, prepared.placement.actors.maximum)
        left = todo
        with ProgressDisplay(todo) as display:
            watch = Watch(
                control,
                display,
                self._options.max_failed,
                lambda: lease.lost,
                self._devices_left,
                prepared.run_id,
                OutputDisk(prepared.output),
            )
            try:
                for _ in range(ROUNDS):
                    plan = self._next_round(plan, watch)
                    run_shards(self._planned(done, left), plan, watch, self._spare_actors(watch))
                    self._index.refresh()
                    done, left = self._finished()
                    if left < AGAIN_ABOVE * prepared.placement.actors.maximum:
                        break
                if left:
                    logger.warning("%d clips have no row after their shards ended; running each alone", left)
                    plan = self._next_round(plan, watch)
                    run_alone((row.clip() for row in missing(prepared.manifest.rows(), done)), plan, watch)
            finally:
                counts = Counts()
                with contextlib.suppress(RayError):
                    counts = control.counts()
                self._note_devices(control.state)
        return counts

    def _devices_left(self, given_up: Collection[DevicePlace]) -> bool:
        """Whether the cluster has a device for this run beside those that are given up, or may get one."""
        placed = self._prepared.placement
        hosts = observe_cluster().only(placed.actor_labels)
        if hosts.growth_unknown:
            return True
        alive = living_nodes()
        gone = sum(len(place.gpu.split(",")) for place in given_up if place.node_id in alive)
        return gone < (hosts.gpus if placed.device == "cuda" else sum(node.most for node in hosts.nodes))

    def _next_round(self, plan: RunPlan, watch: Watch) -> RunPlan:
        """The plan of the next round of actors: those of CPUs keep away from the nodes that are given up."""
        avoided = tuple(place.node_id for place in watch.given_up if not place.gpu)
        return replace(plan, round_number=watch.control.new_round(), avoided_nodes=avoided)

    def _spare_actors(self, watch: Watch) -> int:
        """As many actors as have room on the GPUs that are given up: Ray does not let one be chosen or left out."""
        each = self._prepared.placement.actor_gpus
        return sum(1 for place in watch.given_up if place.gpu) * max(1, int(1 / each + 1e-9) if each else 0)

    def _planned(self, done: ClipHashes, todo: int) -> Plan:
        """The plan of the clips that are missing, written in place of an earlier one."""
        remove_plans(self._prepared.output)
        planned = plan_shards(
            missing(self._prepared.manifest.rows(), done),
            config_hash=self._prepared.config_hash,
            clips_per_file=self._options.clips_per_file,
            concurrent_calls=self._prepared.placement.overlapping_calls,
            total_clips=todo,
        )
        return write_plan(planned, storage.join(self._prepared.run_folder, PLAN_FOLDER))
