"""What a run compares with the output before it works: configuration, clips and kept columns."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipeline import lease
from pipeline.manifest import read_manifest
from pipeline.options import SegmentOptions, UsageError
from pipeline.prepare import finished_clips
from tests.pipeline.output_parts import feed, writer


def _prepared(folder: Path, labels: list[Any], config_hash: str = "c0ffee") -> Any:
    lines = [
        {"clip_id": f"clip-{i}", "video_uri": "v.mp4", "objects": [{"box": [1, 2, 3, 4]}], "label": label}
        for i, label in enumerate(labels)
    ]
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = str(folder / "out")
    return SimpleNamespace(
        output=output,
        options=SegmentOptions(str(path), output),
        manifest=read_manifest(str(path), keep_columns=["label"], in_process=True),
        config_hash=config_hash,
        model=SimpleNamespace(name="m", digest="d" * 64),
    )


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """An output of another clip, with whole numbers in its kept column."""
    output = str(tmp_path / "out")
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path, keep_types={"label": pa.int64()}) as one:
        feed(one, "earlier", label=4, clip_hash="ab" * 32)
        one.commit()
    return tmp_path


def test_kept_columns_of_the_same_name_and_type_go_on(kept: Path) -> None:
    done, missing = finished_clips(_prepared(kept, [1, 2]))
    assert (len(done), missing) == (1, 2)


@pytest.mark.parametrize(("labels", "kind"), [(["a"], "string"), ([1.5], "double"), ([True], "bool")])
def test_kept_columns_of_another_type_are_refused(kept: Path, labels: list[Any], kind: str) -> None:
    """Parts of one table with different types are no table to most readers."""
    with pytest.raises(UsageError, match=rf"out keeps .*\[label int64\], this run \[label {kind}\]"):
        finished_clips(_prepared(kept, labels))


def test_another_configuration_is_refused_and_both_are_named(kept: Path) -> None:
    with pytest.raises(UsageError, match="configuration c0ffee .clip earlier., this run has 0ther"):
        finished_clips(_prepared(kept, [1], config_hash="0ther"))
