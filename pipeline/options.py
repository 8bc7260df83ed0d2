"""The options of a segmentation run, validated once at the edge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from model.start_box import FORM, BoxError, parse_boxes
from pipeline.decode.events import DecodeLimits

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
RotatedBox = Literal["minmax", "mbr", "opt", "ellipse"]
Decoder = Literal["decord", "pyav"]
BUNDLED_WEIGHTS = Path(__file__).resolve().parents[1] / "model" / "bundled" / "siammask-r18.safetensors"


class UsageError(Exception):
    """The command line, the manifest or the storage is unusable (exit status 2); one sentence that names the fault."""


@dataclass(frozen=True, slots=True)
class ActorCount:
    """How many tracker actors: a fixed number (``minimum == maximum``) or a range to scale in."""

    minimum: int
    maximum: int

    @classmethod
    def parse(cls, text: str) -> ActorCount:
        """Read ``N`` or ``MIN:MAX``; UsageError where it is neither."""
        parts = text.split(":")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise UsageError(f"--actors {text}: expected N or MIN:MAX, such as 4 or 2:8")
        minimum, maximum = int(parts[0]), int(parts[-1])
        if not 1 <= minimum <= maximum:
            raise UsageError(f"--actors {text}: expected 1 or more, the larger number last")
        return cls(minimum, maximum)


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """What `jobs/segment.py` was asked to do; the fields are its options, one for one.

    Either `manifest` is given, or it is empty and `video` and `boxes` stand in its place.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    manifest: str
    output: str
    weights: str | None = None
    device: Device = "auto"
    precision: Precision = "auto"
    actors: ActorCount | None = None
    gpus_per_actor: float = 1.0
    actor_nodes: tuple[tuple[str, str], ...] = ()
    max_tracks: int | None = None
    compile: bool = False
    clips_per_file: int = 32
    commit_every: float = 300.0
    stride: int = 1
    rotated_box: RotatedBox = "mbr"
    preset: str | None = None
    retry_failed: bool = False
    wait_for_lease: float = 120.0
    decoder: Decoder = "decord"
    max_corrupt: float = 0.1
    max_frame_pixels: int = DecodeLimits().max_frame_pixels
    max_video_bytes: int = DecodeLimits().max_file_bytes
    max_clip_seconds: float = DecodeLimits().max_clip_seconds
    max_staged_bytes: int | None = None
    keep_columns: tuple[str, ...] = ()
    max_failed: float = 0.5
    strict: bool = False
    limit: int | None = None
    dry_run: bool = False
    report: bool = True
    report_clips: int = 24
    video: str | None = None
    boxes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choices = (
            ("device", self.device, Device),
            ("precision", self.precision, Precision),
            ("rotated-box", self.rotated_box, RotatedBox),
            ("decoder", self.decoder, Decoder),
        )
        for name, value, allowed in choices:
            _check(value in get_args(allowed), name, value, "one of " + ", ".join(get_args(allowed)))
        for name, count in (("clips-per-file", self.clips_per_file), ("stride", self.stride)):
            _check(count >= 1, name, count, "1 or more")
        optional = (
            ("max-tracks", self.max_tracks),
            ("limit", self.limit),
            ("max-staged-bytes", self.max_staged_bytes),
        )
        for name, maybe in optional:
            _check(maybe is None or maybe >= 1, name, maybe, "1 or more")
        for name, most in (
            ("max-frame-pixels", self.max_frame_pixels),
            ("max-video-bytes", self.max_video_bytes),
            ("max-clip-seconds", self.max_clip_seconds),
        ):
            _check(most > 0, name, most, "more than 0")
        for name, fraction in (("max-corrupt", self.max_corrupt), ("max-failed", self.max_failed)):
            _check(0 <= fraction <= 1, name, fraction, "a fraction from 0 to 1")
        self._check_source()
        _check(self.commit_every > 0, "commit-every", self.commit_every, "more than 0 seconds")
        _check(self.report_clips >= 0, "report-clips", self.report_clips, "0 or more")
        _check(self.wait_for_lease >= 0, "wait-for-lease", self.wait_for_lease, "0 seconds or more")
        _check(self.gpus_per_actor > 0, "gpus-per-actor", self.gpus_per_actor, "more than 0, such as 0.25 or 1")
        whole = self.gpus_per_actor <= 1 or float(self.gpus_per_actor).is_integer()
        _check(whole, "gpus-per-actor", self.gpus_per_actor, "a fraction of one GPU, or a whole number")

    def _check_source(self) -> None:
        """A manifest, or one video with its boxes."""
        if self.video is None and self.boxes:
            raise UsageError(f"--box {self.boxes[0]}: give its video by --video; the boxes of a manifest are in it")
        if self.video is None and not self.manifest:
            raise UsageError("--manifest is missing: name a manifest, or one video by --video and --box")
        if self.video is None:
            return
        if self.manifest:
            raise UsageError(f"--video {self.video}: a run takes a manifest or one video; leave out one of them")
        if not self.boxes:
            raise UsageError(f"--video {self.video}: give the object to track as --box {FORM}")
        try:
            parse_boxes(self.boxes)
        except BoxError as error:
            raise UsageError(f"--{error}" if str(error).startswith("box") else f"--box: {error}") from None

    @property
    def weights_uri(self) -> str:
        """The weights to load: those asked for, else the bundled model."""
        return self.weights or str(BUNDLED_WEIGHTS)

    @property
    def limits(self) -> DecodeLimits:
        """What one clip may cost."""
        return DecodeLimits(self.max_frame_pixels, self.max_video_bytes, self.max_clip_seconds)

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(self)


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Read Ray node labels, ``KEY=VALUE`` with commas between; UsageError where they are none."""
    labels = [tuple(part.strip() for part in pair.split("=", 1)) for pair in text.split(",") if pair.strip()]
    if not all(len(label) == 2 and all(label) for label in labels):
        raise UsageError(f"--actor-nodes {text}: expected KEY=VALUE, such as ray.io/node-group=gpu")
    return tuple((key, value) for key, value in labels)


def _check(valid: bool, name: str, value: object, expected: str) -> None:
    if not valid:
        raise UsageError(f"--{name} {value}: expected {expected}")
