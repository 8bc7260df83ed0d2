"""The options of a segmentation run: the fields are those of `jobs/segment.py`, validated once at the edge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from typer import Option

from model.command_line import comma_separated
from model.track.start_box import FORM, BoxError, parse_boxes
from pipeline.decode.events import DecodeLimits
from pipeline.errors import UsageError
from pipeline.storage.uris import HOST

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
RotatedBox = Literal["minmax", "mbr", "opt", "ellipse"]
Decoder = Literal["decord", "pyav"]
BUNDLED_WEIGHTS = Path(__file__).resolve().parents[2] / "model" / "bundled" / "siammask-r18.safetensors"
_LIMITS = DecodeLimits()


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


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Read Ray node labels, ``KEY=VALUE`` with commas between; UsageError where they are none."""
    labels = [tuple(part.strip() for part in pair.split("=", 1)) for pair in text.split(",") if pair.strip()]
    if not all(len(label) == 2 and all(label) for label in labels):
        raise UsageError(f"--actor-nodes {text}: expected KEY=VALUE, such as ray.io/node-group=gpu")
    return tuple((key, value) for key, value in labels)


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """What `jobs/segment.py` was asked to do; a field without `Option` is not on its command line.

    Either `manifest` is given, or it is empty and `video` and `boxes` stand in its place.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    manifest: Annotated[
        str, Option(help="JSON Lines, Parquet or CSV; a file, folder or glob.", metavar="URI", show_default=False)
    ] = ""
    output: Annotated[
        str, Option(help="Folder for the tables; the same again resumes. [required]", metavar="URI", show_default=False)
    ] = ""
    weights: Annotated[
        str | None, Option(help="Our safetensors or a public SiamMask .pth [the bundled model].", metavar="URI")
    ] = None
    device: Annotated[Device, Option(help="auto, cpu or cuda.")] = "auto"
    precision: Annotated[Precision, Option(help="auto, fp32, bf16, fp16 or, on a CPU, int8.")] = "auto"
    actors: Annotated[
        ActorCount | None,
        Option(help="Tracker actors, N or MIN:MAX [one per GPU, or per CPU pair].", parser=ActorCount.parse),
    ] = None
    gpus_per_actor: Annotated[float, Option(help="GPUs of an actor; 0.25 packs four on one.")] = 1.0
    actor_nodes: Annotated[
        tuple[tuple[str, str], ...],
        Option(help="Ray labels of the nodes that actors are held to.", metavar="KEY=VALUE,...", parser=parse_labels),
    ] = ()
    max_tracks: Annotated[int | None, Option(help="Tracks that one actor steps together [by device].")] = None
    compile: Annotated[
        bool, Option("--compile", help="Compile the network's step, a minute for each size of batch.")
    ] = False
    deterministic: Annotated[
        bool, Option("--deterministic", help="Results that depend on no load and no measured choice; slower.")
    ] = False
    device_timeout: Annotated[
        float, Option(help="Seconds after which a device that does not answer is given up.")
    ] = 60.0
    clips_per_file: Annotated[int, Option(help="Most clips that share one output file.")] = 32
    commit_every: Annotated[float, Option(help="Seconds after which finished clips are committed.")] = 300.0
    stride: Annotated[int, Option(help="Track every n-th frame.")] = 1
    rotated_box: Annotated[RotatedBox, Option(help="minmax, mbr, opt or ellipse.")] = "mbr"
    preset: Annotated[
        str | None, Option(help="Tracker: vot, vot18, davis, robust or a JSON file [the weights' own].")
    ] = None
    retry_failed: Annotated[bool, Option("--retry-failed", help="Run failed and partial clips again.")] = False
    replace_changed: Annotated[
        bool, Option("--replace-changed", help="Run again, and replace, clips whose range or objects changed.")
    ] = False
    wait_for_lease: Annotated[
        float, Option(help="Seconds to wait for another run that holds the output.")
    ] = 120.0
    decoder: Annotated[Decoder, Option(help="decord or pyav.")] = "decord"
    max_corrupt: Annotated[float, Option(help="Fraction of undecodable frames above which a clip fails.")] = 0.1
    max_frame_pixels: Annotated[
        int, Option(help="Largest frame, width times height; a larger one fails its clip.")
    ] = _LIMITS.max_frame_pixels
    max_video_bytes: Annotated[
        int, Option(help="Largest video file; a larger one fails its clips.")
    ] = _LIMITS.max_file_bytes
    max_clip_seconds: Annotated[
        float, Option(help="Longest time for one clip, from fetching its video to its last mask.")
    ] = _LIMITS.max_clip_seconds
    max_staged_bytes: Annotated[
        int | None, Option(help="Most bytes of videos kept on a node at a time [no limit].")
    ] = None
    http_hosts: Annotated[
        tuple[str, ...],
        Option(
            help="Hosts that https:// videos and manifests may be on, redirects included [none].",
            metavar="A,B,...",
            parser=comma_separated,
        ),
    ] = ()
    keep_columns: Annotated[
        tuple[str, ...], Option(help="Manifest columns to copy into clips.", metavar="A,B,...", parser=comma_separated)
    ] = ()
    max_failed: Annotated[float, Option(help="Stop when more than this fraction of the clips failed.")] = 0.5
    strict: Annotated[bool, Option("--strict", help="Exit with 3 when any clip is failed or partial.")] = False
    limit: Annotated[int | None, Option(help="Only the first N clips.")] = None
    dry_run: Annotated[bool, Option("--dry-run", help="Check everything, print the plan, run nothing.")] = False
    report: Annotated[bool, Option(help="Write report.html and report.json at the end.")] = True
    report_clips: Annotated[int, Option(help="Most clips shown in the report.")] = 24
    video: Annotated[
        str | None, Option(help="One video in place of a manifest, with its --box.", metavar="URI")
    ] = None
    boxes: Annotated[
        tuple[str, ...],
        Option(
            "--box",
            help="An object of --video, in pixels; ID= names it, @FRAME starts it there. Give one a object.",
            metavar="[ID=]X,Y,W,H[@FRAME]",
        ),
    ] = ()

    def __post_init__(self) -> None:
        _check_choice("device", self.device, Device)
        _check_choice("precision", self.precision, Precision)
        _check_choice("rotated-box", self.rotated_box, RotatedBox)
        _check_choice("decoder", self.decoder, Decoder)
        for name in ("clips_per_file", "stride", "max_tracks", "limit", "max_staged_bytes"):
            count = getattr(self, name)
            _check(count is None or count >= 1, name, count, "1 or more")
        for name in ("max_frame_pixels", "max_video_bytes", "max_clip_seconds", "device_timeout"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("max_corrupt", "max_failed"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a fraction from 0 to 1")
        for host in self.http_hosts:
            _check(HOST.match(host) is not None, "http-hosts", host, "host names, such as videos.example.org")
        self._check_source()
        self._check_deterministic()
        _check(self.commit_every > 0, "commit-every", self.commit_every, "more than 0 seconds")
        _check(self.report_clips >= 0, "report-clips", self.report_clips, "0 or more")
        _check(self.wait_for_lease >= 0, "wait-for-lease", self.wait_for_lease, "0 seconds or more")
        _check(self.gpus_per_actor > 0, "gpus-per-actor", self.gpus_per_actor, "more than 0, such as 0.25 or 1")
        one = "1 or a fraction such as 0.25, since an actor computes on one GPU and would leave the others idle"
        _check(self.gpus_per_actor <= 1, "gpus-per-actor", self.gpus_per_actor, one)

    def _check_source(self) -> None:
        """An output, and a manifest, or one video with its boxes."""
        if not self.output:
            raise UsageError("--output is missing: name a folder for the tables")
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

    def _check_deterministic(self) -> None:
        """Each track is computed by itself, and by no choice that is measured."""
        if self.deterministic and self.compile:
            raise UsageError("--deterministic and --compile: a compiler measures what it makes; leave out one of them")
        if self.deterministic and self.max_tracks not in (None, 1):
            raise UsageError(f"--deterministic and --max-tracks {self.max_tracks}: it steps each track by itself")

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


def _check(valid: bool, name: str, value: object, expected: str) -> None:
    if not valid:
        raise UsageError(f"--{name.replace('_', '-')} {value}: expected {expected}")


def _check_choice(name: str, value: str, choices: Any) -> None:
    _check(value in get_args(choices), name, value, "one of " + ", ".join(get_args(choices)))
