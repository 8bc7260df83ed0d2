"""Everything that is checked before any work starts: storage, weights, cluster and manifest.

Whatever is wrong here is a `UsageError`, exit status 2, one sentence that names the fault.
"""

from __future__ import annotations

import logging
import platform
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.interrupt import take_signals_again
from pipeline.manifest import ABSENT, ClipHashes, Manifest, ManifestError, digest, read_manifest
from pipeline.models import RunModel, check_model, config_hash
from pipeline.one_video import write_manifest
from pipeline.options import SegmentOptions, UsageError
from pipeline.placement import Placement, observe_cluster, place
from pipeline.raycluster import configure_data, connect
from pipeline.recovery import finished, kept_columns
from pipeline.shards import require_unchanged
from pipeline.tables import CLIPS

logger = logging.getLogger(__name__)
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
        return storage.join(self.output, "_runs", self.run_id)

    def in_manifest(self, clips: Sequence[tuple[str, str]]) -> bool:
        """Whether the manifest has all of these clips, by id and hash."""
        digests = b"".join(digest(clip_id, clip_hash) for clip_id, clip_hash in clips)
        return bool((self.manifest.hashes.compare(digests) != ABSENT).all())


def prepare(options: SegmentOptions) -> Prepared:
    """Check everything, cheapest first, and connect to Ray on the way.

    Raises:
        UsageError: something is unusable.
    """
    started = datetime.now(UTC)
    try:
        storage.Settings.from_environment()
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        output = storage.parse(options.output).uri
        probe = storage.check_writable(output, storage.CHECKING)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    for name, uri in (("manifest", options.manifest), ("video", options.video), ("weights", options.weights_uri)):
        try:
            if uri:
                storage.require_reachable(uri)
        except storage.StorageError as error:
            raise UsageError(f"--{name}: {error}") from error
    if not probe.conditional:
        logger.warning(
            "%s ignores conditional writes: make sure that no two runs write it at once", storage.redact(output)
        )
    manifest_uri, scratch = options.manifest, None
    if options.video is not None:
        manifest_uri, scratch = write_manifest(options.video, options.boxes)
    model = check_model(options.weights_uri, options.preset)
    owns_ray = connect()
    take_signals_again()
    configure_data()
    placement = place(options, observe_cluster())
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


def finished_clips(prepared: Prepared, *, ok_only: bool = False) -> tuple[ClipHashes, int]:
    """The clips of the output that have a row, and how many of the manifest have none.

    Args:
        ok_only: count failed and partial clips as having none, as after `forget_failed`.

    Raises:
        UsageError: a clip was made with another configuration, or has the id of a clip of the manifest but
            another video, range or objects, or the kept columns differ; names both sides.
    """
    options, output = prepared.options, storage.redact(prepared.output)
    kept = kept_columns(prepared.output)
    wanted = {field.name: field.type for field in prepared.manifest.summary.kept}
    if kept is not None and list(kept.items()) != list(wanted.items()):
        raise UsageError(
            f"{output} keeps the manifest columns [{_named(kept)}], this run [{_named(wanted)}]: "
            "give the same --keep-columns, with values of the same types, or another --output"
        )
    done = ClipHashes()
    for clip in finished(prepared.output):
        if clip.config_hash != prepared.config_hash:
            raise UsageError(
                f"{output} holds clips of configuration {clip.config_hash[:12]} (clip {clip.clip_id}), this run has "
                f"{prepared.config_hash[:12]} (weights {prepared.model.name} {prepared.model.digest[:12]}, "
                f"stride {options.stride}, rotated box {options.rotated_box}): "
                "use the same settings or another --output"
            )
        if clip.status == "ok" or not ok_only:
            done.add(digest(clip.clip_id, clip.clip_hash))
    try:
        return done, require_unchanged(prepared.manifest, done)
    except ManifestError as error:
        raise UsageError(f"{output}: {error}") from error


def _named(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


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
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
