"""What becomes of a clip whose call failed with it alone in hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayActorError, RayTaskError

from pipeline import lease
from pipeline.clips import Clip, ObjectStart
from pipeline.execute import _fail


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RayTaskError("run_shard", "trace", AssertionError()), ("write", "AssertionError", "")),
        (RayTaskError("run_shard", "trace", ValueError("first\nsecond")), ("write", "ValueError", "first")),
        (RayActorError(), ("actor", "ActorDied", "the tracker actor died while it worked on this clip alone")),
    ],
)
def test_it_gets_a_row_that_says_what_happened(
    tmp_path: Path, error: Exception, expected: tuple[str, str, str]
) -> None:
    output = str(tmp_path / "out")
    clip = Clip("c", "v.mp4", "/v.mp4", objects=(ObjectStart("0", box=(1, 2, 3, 4)),), keep={"camera": "north"})
    plan = SimpleNamespace(output=output, run_id="run-1", config_hash="x", attempt=2, keep_types=["camera"])
    with lease.acquire(output, "run-1", 0):
        _fail(clip, plan, error)  # type: ignore[arg-type]
    (row,) = pq.read_table(f"{output}/clips").to_pylist()
    assert (row["error_stage"], row["error_type"], row["error_message"]) == expected
    assert (row["clip_id"], row["status"], row["masks_part"], row["camera"]) == ("c", "failed", None, "north")
