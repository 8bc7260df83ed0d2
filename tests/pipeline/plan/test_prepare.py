"""What a run compares with the output before it works: configuration, clips and kept columns."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.errors import UsageError
from pipeline.manifest import ClipHashes, read_manifest
from pipeline.output import lease
from pipeline.plan.options import SegmentOptions
from pipeline.plan.prepare import prepare
from pipeline.plan.todo import finished_clips
from tests.pipeline.output.output_parts import feed, indexed, writer


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


def _finished(prepared: Any) -> tuple[ClipHashes, int]:
    return finished_clips(prepared, indexed(prepared.output))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """An output of another clip, with whole numbers in its kept column."""
    output = str(tmp_path / "out")
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path, keep_types={"label": pa.int64()}) as one:
        feed(one, "earlier", label=4, clip_hash="ab" * 32)
        one.commit()
    return tmp_path


def test_kept_columns_of_the_same_name_and_type_go_on(kept: Path) -> None:
    done, missing = _finished(_prepared(kept, [1, 2]))
    assert (len(done), missing) == (1, 2)


@pytest.mark.parametrize(("labels", "kind"), [(["a"], "string"), ([1.5], "double"), ([True], "bool")])
def test_kept_columns_of_another_type_are_refused(kept: Path, labels: list[Any], kind: str) -> None:
    """Parts of one table with different types are no table to most readers."""
    with pytest.raises(UsageError, match=rf"out keeps .*\[label int64\], this run \[label {kind}\]"):
        _finished(_prepared(kept, labels))


def test_another_configuration_is_refused_and_both_are_named(kept: Path) -> None:
    with pytest.raises(UsageError, match="configuration c0ffee .clip earlier., this run has 0ther"):
        _finished(_prepared(kept, [1], config_hash="0ther"))


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "model.weights calibrate"), ({"compile": True}, "--compile")],
)
def test_int8_that_cannot_be_is_refused_before_any_work(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    manifest, weights = tmp_path / "m.jsonl", tmp_path / "w.safetensors"
    manifest.write_text(json.dumps({"video_uri": "v.mp4", "objects": [{"box": [1, 2, 3, 4]}]}))
    save_weights(weights, SiamMask(SiamMaskConfig("resnet18", "two", False)), metadata={"name": "plain"})
    asked = SegmentOptions(
        str(manifest), str(tmp_path / "out"), weights=str(weights), precision="int8", **options
    )
    with pytest.raises(UsageError, match=said):
        prepare(asked)
