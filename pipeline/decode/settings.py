"""How decoding runs, as opposed to what is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.decode.events import DecodeLimits


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """Settings of one stream of clips.

    Attributes:
        limits: what one clip may cost.
        chunk_bytes: frames are handed out in chunks of at most this many bytes, one frame at least.
        pack_bytes: events of short clips are sent together, up to this many bytes of frames; 0 sends each by itself.
        hang_seconds: a worker that gives no sign of life for this long is given up (`Timeout`).
        scratch: folder for staged videos; None is a folder of ours in the system's temporary folder.
        max_staged_bytes: most bytes of staged videos in the folder at a time; None is no limit.
        in_process: decode in the calling process, without Ray.
        num_cpus: CPUs a decode task claims from Ray; 0 lets a machine decode whose CPUs are all claimed.
        node_id: Ray node preferred for the decode task, such as the consumer's own.
        chunks_ahead: chunks decoded ahead of the consumer.
        crash_retries: how often a clip is started over after its worker died or hung, which may be no fault of its own
            (lost node, out of memory); PyAV decodes it then.
    """

    limits: DecodeLimits = field(default_factory=DecodeLimits)
    chunk_bytes: int = 32 << 20
    pack_bytes: int = 1 << 20
    hang_seconds: float = 120.0
    scratch: str | None = None
    max_staged_bytes: int | None = None
    in_process: bool = False
    num_cpus: float = 0.0
    node_id: str | None = None
    chunks_ahead: int = 2
    crash_retries: int = 2
