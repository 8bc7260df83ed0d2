"""Everything that is checked before any work starts: storage, weights, cluster and manifest.

Whatever is wrong here is a `UsageError`, exit status 2, one sentence that names the fault.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from pipeline import storage
from pipeline.cluster.connect import configure_data, connect
from pipeline.disk import require_space
from pipeline.errors import UsageError
from pipeline.job import take_signals_again
from pipeline.manifest import ABSENT, Manifest, ManifestError, read_manifest
from pipeline.output.names import RUNS_FOLDER
from pipeline.output.schema import CLIPS
from pipeline.plan.gpu_check import check_gpu
from pipeline.plan.model import RunModel, check_model, config_hash
from pipeline.plan.one_video import write_manifest
from pipeline.plan.options import SegmentOptions
from pipeline.plan.placement import Placement, Work, observe_cluster, place

logger = logging.getLogger(__name__)
_FEW_FRAMES = 100
"""What a clip of unknown length counts for when decoders are placed: fewer than `shards.UNKNOWN_FRAMES`, by which
shards are planned, since a decoder too many costs more than one too few."""
_VERSIONS = ("siammask-batch", "ray", "torch", "pyarrow", "decord2", "av", "opencv-python-headless", "numpy")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start.

    Attributes:
        output: absolute URI of the output folder.
        run_id: sortable by start, unique.
        owns_ray: whether this run connected to Ray, and so may disconnect.
        config_hash: of what changes results.
        scratch: folder of the manifest that stands for `--video` and `--box`; goes away with this.
    """

    options: SegmentOptions
    output: str
    run_id: str
    model: RunModel
    config_hash: str
    manifest: Manifest
    placement: Placement
    owns_ray: bool
    started_at: datetime
    scratch: tempfile.TemporaryDirectory | None = None

    @property
    def run_folder(self) -> str:
        """Where config, plan and report of this run go."""
        return storage.join(self.output, RUNS_FOLDER, self.run_id)

    def in_manifest(self, digests: bytes) -> bool:
        """Whether the manifest has clips of all these ids."""
        return bool((self.manifest.hashes.compare(digests) != ABSENT).all())


def prepare(options: SegmentOptions) -> Prepared:
    """Check everything, cheapest first, and connect to Ray on the way.

    Raises:
        UsageError: something is unusable.
    """
    started = datetime.now(UTC)
    environment = {storage.HTTP_HOSTS: ",".join(options.http_hosts)}
    os.environ.update(environment)
    try:
        storage.Settings.from_environment()
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        location = storage.parse(options.output)
        output = location.uri
        if location.bucket is None:
            require_space(location.key, "--output", "name another one")
        conditional = storage.check_writable(output, storage.CHECKING)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    for name, uri in (("manifest", options.manifest), ("video", options.video), ("weights", options.weights_uri)):
        try:
            if uri:
                storage.require_reachable(uri)
        except storage.StorageError as error:
            raise UsageError(f"--{name}: {error}") from error
    if not conditional:
        logger.warning(
            "%s ignores conditional writes: make sure that no two runs write it at once", storage.redact(output)
        )
    manifest_uri, scratch = options.manifest, None
    if options.video is not None:
        manifest_uri, scratch = write_manifest(options.video, options.boxes)
    model = check_model(options.weights_uri, options.preset)
    _check_int8(options, model)
    owns_ray = connect(environment)
    take_signals_again()
    configure_data()
    cluster = observe_cluster()
    placement = place(options, cluster)  # before the manifest is read, for what can never fit
    check_gpu(placement, cluster.only(placement.actor_labels), options.device)
    if options.precision == "int8" and placement.device != "cpu":
        raise UsageError("--precision int8 computes on CPUs, and the tracker actors are on GPUs: add --device cpu")
    try:
        manifest = read_manifest(
            manifest_uri,
            stride=options.stride,
            keep_columns=options.keep_columns,
            limit=options.limit,
            reserved=CLIPS.names,
            in_process=scratch is not None,
        )
    except storage.StorageError as error:
        raise UsageError(f"--manifest: {error}") from error
    except ManifestError as error:
        raise UsageError(str(error)) from error
    asked = manifest.summary
    work = Work(asked.clips, asked.objects, asked.frames + _FEW_FRAMES * asked.open_clips)
    placement = place(options, cluster, work=work)
    return Prepared(
        options=options,
        output=output,
        run_id=f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        model=model,
        config_hash=config_hash(model, stride=options.stride, rotated_box=options.rotated_box),
        manifest=manifest,
        placement=placement,
        owns_ray=owns_ray,
        started_at=started,
        scratch=scratch,
    )


def _check_int8(options: SegmentOptions, model: RunModel) -> None:
    if options.precision != "int8":
        return
    if options.compile:
        raise UsageError("--precision int8 and --compile: a compiled step does not compute in int8; leave out one")
    if not model.metadata.get("int8"):
        raise UsageError(
            f"--precision int8: {model.name} has no ranges for it; `python -m model.weights calibrate` adds them"
        )


def config(prepared: Prepared) -> dict[str, Any]:
    """What `config.json` records: options, where videos are, weights with their licence, placement, versions."""
    placed, model = prepared.placement, prepared.model
    return {
        "run_id": prepared.run_id,
        "started_at": prepared.started_at.isoformat(),
        "config_hash": prepared.config_hash,
        "options": {
            **prepared.options.to_dict(),
            **{name: storage.redact(getattr(prepared.options, name) or "") for name in ("manifest", "video", "output")},
            "weights": storage.redact(prepared.options.weights_uri),
        },
        "video_folders": [storage.redact(folder) for folder in prepared.manifest.folders],
        "weights": {
            "name": model.name,
            "sha256": model.digest,
            "layout": model.layout,
            "network": model.network,
            "tracker": model.tracker_params,
            **model.metadata,
        },
        "placement": {
            "device": placed.device,
            "actors": [placed.actors.minimum, placed.actors.maximum],
            "actor_cpus": placed.actor_cpus,
            "actor_gpus": placed.actor_gpus,
            "calls": placed.calls,
            "lanes": placed.lanes,
            "decode_cpus": placed.decode_cpus,
            "max_tracks": placed.max_tracks,
            "deterministic": placed.deterministic,
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
