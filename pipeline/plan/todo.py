"""Which clips of a manifest an output has, and which are to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.manifest import ABSENT, CHANGED, SAME, ClipHashes, ClipRow, Manifest, ManifestError, Problem, digest
from pipeline.manifest.problems import MAX_PROBLEMS
from pipeline.output.index import OutputIndex, hashes_of
from pipeline.output.schema import VERSION
from pipeline.plan.prepare import Prepared


def require_unchanged(manifest: Manifest, finished: ClipHashes) -> int:
    """Compare a manifest with the clips that an output has already.

    Args:
        manifest: The manifest, checked.
        finished: The clips of the output.

    Returns:
        How many clips of the manifest are missing in the output.

    Raises:
        ManifestError: Clips have the id of one in the output and another range, objects or video; names both.
    """
    absent, _, changed = manifest.hashes.tally(finished)
    if not changed:
        return absent
    problems: list[Problem] = []
    for rows in manifest.rows():
        for row in _pick(rows, finished, CHANGED):
            expected = f"clip {row.clip_id} as the output has it (clip_hash {finished.hash_of(row.clip_id)})"
            got = (
                f"another video_uri, range or objects (clip_hash {row.clip_hash[:12]}): run it again with"
                " --replace-changed, give the changed clip another clip_id, or use another output"
            )
            problems.append(Problem("clip_id", expected, got, row.row, row.file))
            if len(problems) == MAX_PROBLEMS:
                raise ManifestError(problems)
    raise ManifestError(problems)


def missing(batches: Iterable[Sequence[ClipRow]], finished: ClipHashes) -> Iterator[ClipRow]:
    """The clips that the output does not have yet, in their order."""
    for rows in batches:
        yield from _pick(rows, finished, ABSENT)


def _pick(rows: Sequence[ClipRow], finished: ClipHashes, state: int) -> Iterator[ClipRow]:
    states = finished.compare(b"".join(digest(row.clip_id, row.clip_hash) for row in rows))
    return (row for row, row_state in zip(rows, states, strict=True) if row_state == state)


def finished_clips(
    prepared: Prepared, index: OutputIndex, *, ok_only: bool = False, changed: bool = False
) -> tuple[ClipHashes, int]:
    """The clips of the output that have a row, and how many of the manifest have none.

    Args:
        prepared: the run.
        index: of its output, current.
        ok_only: count failed and partial clips as having none, as after `forget_failed`.
        changed: clips that have a row of another video, range or objects are no fault; they count as having one.

    Raises:
        UsageError: the output is of another version, a clip was made with another configuration, or has the id of a
            clip of the manifest but another video, range or objects, or the kept columns differ; names both sides.
    """
    options, output = prepared.options, storage.redact(prepared.output)
    for version in {part.origin.version for part in index.parts.values()} - {VERSION}:
        raise UsageError(
            f"{output} was written by version {version}, this is version {VERSION}: it can be read, and not added to; "
            f"go on with version {version}, or use another --output"
        )
    kept = index.kept_columns
    wanted = {field.name: field.type for field in prepared.manifest.summary.kept}
    if kept is not None and list(kept.items()) != list(wanted.items()):
        raise UsageError(
            f"{output} keeps the manifest columns [{_named(kept)}], this run [{_named(wanted)}]: "
            "give the same --keep-columns, with values of the same types, or another --output"
        )
    for other in {config_hash for part in index.parts.values() for config_hash in part.origin.config_hashes}:
        if other != prepared.config_hash:
            raise UsageError(
                f"{output} holds clips of configuration {other[:12]} (clip {index.examples[other]}), this run has "
                f"{prepared.config_hash[:12]} (weights {prepared.model.name} {prepared.model.digest[:12]}, "
                f"stride {options.stride}, rotated box {options.rotated_box}): "
                "use the same settings or another --output"
            )
    done = hashes_of(part for _, part in index.of_status("ok")) if ok_only else index.hashes
    if changed:
        return done, prepared.manifest.hashes.tally(done)[ABSENT]
    try:
        return done, require_unchanged(prepared.manifest, done)
    except ManifestError as error:
        raise UsageError(f"{output}: {error}") from error


def _named(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def to_replace(manifest: Manifest, finished: ClipHashes, staged: ClipHashes) -> tuple[ClipHashes, int]:
    """Which clips of a manifest are not to be run so that those that changed can be replaced.

    Args:
        manifest: checked.
        finished: the clips of the output.
        staged: those that were run already and wait to take their places.

    Returns:
        All clips of the manifest but those that changed and do not wait yet, and the number of these.
    """
    rest, left = ClipHashes(), 0
    for rows in manifest.rows():
        digests = [digest(row.clip_id, row.clip_hash) for row in rows]
        joined = b"".join(digests)
        todo = (finished.compare(joined) == CHANGED) & (staged.compare(joined) != SAME)
        left += int(todo.sum())
        rest.add(b"".join(known for known, is_todo in zip(digests, todo, strict=True) if not is_todo))
    return rest, left
