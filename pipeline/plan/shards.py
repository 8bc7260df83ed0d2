"""Shards: the clips of one call to a tracker actor, planned in a stream and handed to Ray Data as Parquet files.

The driver holds one shard's clips and one plan file's text at a time; per clip it keeps the 16 bytes of
`pipeline.manifest.ClipHashes`, and nothing else. The plan lies beside the output and not in the driver's memory,
because Ray Data keeps what it is given as Python items in the object store for the whole run; from files it streams.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.manifest import ClipRow
from pipeline.output.names import RUNS_FOLDER

if TYPE_CHECKING:
    from ray.data import Dataset

FRAMES_CAP = 50_000
"""A shard ends at about so many frames to track: half an hour of video, so that a lost call costs little."""
UNKNOWN_FRAMES = 1_000
"""What a clip counts for when only the video tells its length."""
SHARDS_PER_CALL = 4
"""At least so many shards for each overlapping call, so that the last ones to finish differ little."""

PLAN_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("n_clips", pa.int32()),
        ("frames", pa.int64()),
        ("clips", pa.list_(pa.string())),
    ]
)
PLAN_FOLDER = "plan"
_FILE_CHARS = 32 << 20
_FILE_SHARDS = 5_000
_GROUP_SHARDS = 100


@dataclass(frozen=True, slots=True)
class Shard:
    """Clips that are processed by one call and share an output file.

    Attributes:
        name: 16 hex digits of SHA-256 over the configuration's hash and the clip ids: the same clips under the
            same configuration are the same shard.
        clips: The clips as JSON (`Clip.to_json`).
        frames: Estimate of the frames to track.
    """

    name: str
    clips: tuple[str, ...]
    frames: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that has been written: how much there is of what."""

    folder: str
    shards: int
    clips: int
    frames: int


def shard_size(clips_per_file: int, concurrent_calls: int, total_clips: int) -> int:
    """The most clips of one shard.

    Args:
        clips_per_file: The user's limit.
        concurrent_calls: Overlapping calls of all actors together.
        total_clips: Clips to process.
    """
    return max(1, min(clips_per_file, -(-total_clips // (SHARDS_PER_CALL * concurrent_calls))))


def plan_shards(
    rows: Iterable[ClipRow],
    *,
    config_hash: str,
    clips_per_file: int,
    concurrent_calls: int,
    total_clips: int,
    frames_cap: int = FRAMES_CAP,
) -> Iterator[Shard]:
    """Group clips into shards, in their order.

    Neighbours of one video stay in one shard where they fit, since a shard fetches each of its videos once.

    Args:
        rows: The clips; consumed as a stream.
        config_hash: What else the shards' names cover.
        clips_per_file, concurrent_calls, total_clips: See `shard_size`.
        frames_cap: A shard of several clips has no more frames than this, by estimate.
    """
    size = shard_size(clips_per_file, concurrent_calls, total_clips)
    videos = itertools.groupby(rows, key=lambda row: row.video_uri)
    neighbours = (part for _, video in videos for part in _packed(([row] for row in video), size, frames_cap))
    for clips in _packed(neighbours, size, frames_cap):
        covered = "\n".join([config_hash, *(row.clip_id for row in clips)])
        name = hashlib.sha256(covered.encode()).hexdigest()[:16]
        yield Shard(name, tuple(row.text for row in clips), _frames(clips))


def write_plan(shards: Iterable[Shard], folder: str) -> Plan:
    """Write shards as `plan-<number>.parquet` files of `PLAN_SCHEMA` below a folder, in bounded memory.

    Args:
        shards: Consumed as a stream.
        folder: URI; `<output>/_runs/<run id>/plan`.

    Raises:
        StorageError: The folder cannot be written.
    """
    pending: list[Shard] = []
    chars = files = count = clips = frames = 0
    for shard in shards:
        pending.append(shard)
        chars += sum(map(len, shard.clips))
        count, clips, frames = count + 1, clips + len(shard.clips), frames + shard.frames
        if chars > _FILE_CHARS or len(pending) == _FILE_SHARDS:
            _write_file(pending, folder, files)
            pending, chars, files = [], 0, files + 1
    if pending:
        _write_file(pending, folder, files)
    return Plan(folder, count, clips, frames)


def read_plan(plan: Plan) -> Dataset:
    """The shards as a Ray Dataset of `PLAN_SCHEMA`, one row a shard.

    Tasks read the files with the patience of `pipeline.storage`, which that of Ray's own readers does not reach.
    """
    import ray.data

    files = sorted(entry.uri for entry in storage.list_files(plan.folder))
    return ray.data.from_items([{"uri": uri} for uri in files], override_num_blocks=len(files) or 1).map_batches(
        _read_file, batch_size=1, batch_format="pyarrow"
    )


def _packed(parts: Iterable[list[ClipRow]], size: int, frames_cap: int) -> Iterator[list[ClipRow]]:
    """Join neighbouring parts, none of them empty, while they fit into one shard."""
    joined: list[ClipRow] = []
    frames = 0
    for part in parts:
        more = _frames(part)
        if joined and (len(joined) + len(part) > size or frames + more > frames_cap):
            yield joined
            joined, frames = [], 0
        joined += part
        frames += more
    if joined:
        yield joined


def _frames(rows: Sequence[ClipRow]) -> int:
    return sum(UNKNOWN_FRAMES if row.frames is None else row.frames for row in rows)


def _read_file(batch: pa.Table) -> pa.Table:
    """One plan file, named by the one row of a batch."""
    (uri,) = batch["uri"].to_pylist()
    return pq.read_table(pa.BufferReader(storage.read_bytes(uri)), schema=PLAN_SCHEMA)


def _write_file(shards: Sequence[Shard], folder: str, number: int) -> None:
    columns = [
        [shard.name for shard in shards],
        [len(shard.clips) for shard in shards],
        [shard.frames for shard in shards],
        [list(shard.clips) for shard in shards],
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns, schema=PLAN_SCHEMA),
        sink,
        compression="zstd",
        use_dictionary=False,
        row_group_size=_GROUP_SHARDS,
    )
    storage.write_bytes(storage.join(folder, f"plan-{number:06d}.parquet"), sink.getvalue().to_pybytes())


def remove_plans(output: str, *, until: float = math.inf) -> None:
    """Remove the plans of all runs into an output, those of killed ones too: a plan serves the run that wrote it.

    Args:
        output: URI of the output folder.
        until: a time of `time.monotonic` after which nothing more is removed.
    """
    runs = storage.join(output, RUNS_FOLDER)
    inside = f"/{PLAN_FOLDER}/"
    plans = (entry.uri for entry in storage.list_files(runs) if inside in entry.uri.removeprefix(runs))
    storage.delete_many(itertools.takewhile(lambda _: time.monotonic() < until, plans))
