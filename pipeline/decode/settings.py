"""How decoding runs, as opposed to what is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.decode.events import DecodeLimits


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """Settings of one stream of clips.

    Attributes:
        limits: what one clip may cost.
        chunk_bytes: frames are handed out in chunks of about this many bytes, one frame at least.
        threads: decoding threads of one clip.
        hang_seconds: a decoder that makes no progress for this long is given up (`Timeout`).
        scratch: folder for staged videos; None is the system's temporary folder.
        in_process: decode in the calling process, without Ray.
        num_cpus: CPUs a decode task claims from Ray; 0 lets a full machine still decode.
        node_id: Ray node preferred for the decode task, such as the consumer's own.
        chunks_ahead: chunks decoded ahead of the consumer.
    """

    limits: DecodeLimits = field(default_factory=DecodeLimits)
    chunk_bytes: int = 32 << 20
    threads: int = 2
    hang_seconds: float = 120.0
    scratch: str | None = None
    in_process: bool = False
    num_cpus: float = 0.0
    node_id: str | None = None
    chunks_ahead: int = 2
