"""The main job on real, small videos: what a finished run leaves, and a run after it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.demo.corpus import Corpus
from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.output.schema import CLIPS, MASKS
from pipeline.plan.options import SegmentOptions
from tests.conftest import S3Store
from tests.jobs.segment_runs import clip_rows, corpus, manifest_clips, mask_rows, weights, write_manifest
from tests.pipeline.output.counting import Requests, requests

__all__ = ["corpus", "requests", "weights"]


@pytest.fixture(scope="module")
def finished(ray_local: None, corpus: Corpus, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one run over the demo corpus, whose rows another run repeats however busy the machine is."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert run(SegmentOptions(str(corpus.manifest), str(output), weights=weights, deterministic=True)) == 0
    return output


def test_every_object_has_a_row_in_every_frame(finished: Path, corpus: Corpus) -> None:
    truth = pq.read_table(corpus.truth).to_pylist()
    want = Counter((row["clip_id"], row["object_id"]) for row in truth)
    rows = mask_rows(finished)
    assert Counter((row["clip_id"], row["object_id"]) for row in rows) == want
    assert sum(want.values()) > corpus.frames  # a clip has two objects
    clips = clip_rows(finished)
    assert [clip["status"] for clip in clips] == ["ok"] * len(corpus.videos)
    assert sum(clip["frames"] for clip in clips) == corpus.frames
    assert all(clip["model"] == "random" and clip["decoder"] == "decord" for clip in clips)


def test_the_first_row_of_an_object_is_the_box_given(finished: Path, corpus: Corpus) -> None:
    given = {
        (clip["clip_id"], item["object_id"]): item["box"] for clip in manifest_clips(corpus) for item in clip["objects"]
    }
    first = [row for row in mask_rows(finished) if row["frame_index"] == 0]
    assert len(first) == len(given)
    for row in first:
        np.testing.assert_allclose(list(row["bbox"].values()), given[row["clip_id"], row["object_id"]], rtol=1e-6)
        assert (row["score"], row["pts_s"]) == (1.0, 0.0)


def test_tables_have_the_documented_schema_and_read_with_a_plain_glob(finished: Path) -> None:
    for name, schema in (("masks", MASKS), ("clips", CLIPS)):
        for part in (finished / name).glob("*.parquet"):
            assert pq.read_schema(part).equals(schema)
        rows = duckdb.sql(f"SELECT count(*) FROM '{finished}/{name}/*.parquet'").fetchall()[0][0]
        assert rows == pl.read_parquet(f"{finished}/{name}/*.parquet").height > 0
    row = mask_rows(finished)[5]
    mask = coco.decode({"size": row["mask"]["size"], "counts": row["mask"]["counts"].encode()})
    assert mask.shape == (360, 640)
    assert int(mask.sum()) == row["area"]
    joined = duckdb.sql(
        f"SELECT count(*) FROM '{finished}/masks/*.parquet' m JOIN '{finished}/clips/*.parquet' c USING (clip_id) "
        "WHERE c.masks_part IS NULL OR c.status = 'failed'"
    ).fetchall()
    assert joined == [(0,)]


def test_a_run_leaves_config_and_report(finished: Path) -> None:
    (folder,) = [path for path in (finished / "_runs").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.json",
        "report.html",
        "report.json",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["weights"]["licence"] == "none needed"
    report = json.loads((folder / "report.json").read_text())
    assert report["exit_status"] == 0
    assert report["clips"] == {"total": 3, "ok": 3, "partial": 0, "failed": 0, "this_run": 3}
    assert report["run"]["track_frames"] == len(mask_rows(finished))


def test_a_finished_output_has_nothing_left_to_do(
    finished: Path, corpus: Corpus, weights: str, capsys: pytest.CaptureFixture[str], requests: Requests
) -> None:
    before = sorted(path.name for path in finished.glob("*/*.parquet"))
    assert run(SegmentOptions(str(corpus.manifest), str(finished), weights=weights)) == 0
    assert "3 finished before, 0 to do" in capsys.readouterr().err
    assert sorted(path.name for path in finished.glob("*/*.parquet")) == before
    assert requests.most_reads("clips") == 1 and requests.listings["clips/"] == 2


def test_s3_gives_the_same_tables(
    finished: Path, corpus: Corpus, weights: str, s3_store: S3Store, tmp_path: Path
) -> None:
    from pipeline import storage

    for path in [corpus.manifest, *corpus.videos]:
        storage.upload_file(path, s3_store.uri(f"same/{path.relative_to(corpus.manifest.parent)}"))
    storage.upload_file(weights, s3_store.uri("same/weights.safetensors"))
    output = s3_store.uri("same/out")
    options = SegmentOptions(
        s3_store.uri("same/manifest.jsonl"),
        output,
        weights=s3_store.uri("same/weights.safetensors"),
        deterministic=True,
    )
    assert run(options) == 0
    for entry in storage.list_files(output):
        target = tmp_path / entry.uri.removeprefix(storage.parse(output).uri + "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.download(entry.uri, target)
    assert mask_rows(tmp_path) == mask_rows(finished)
    changing = {"run_id", "masks_part", "started_at", "finished_at", "decode_wait_s"}
    assert [{k: v for k, v in clip.items() if k not in changing} for clip in clip_rows(tmp_path)] == [
        {k: v for k, v in clip.items() if k not in changing} for clip in clip_rows(finished)
    ]


def test_a_changed_configuration_or_clip_is_refused_by_name(
    finished: Path, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="stride 2"):
        run(SegmentOptions(str(corpus.manifest), str(finished), weights=weights, stride=2))
    clips = manifest_clips(corpus)
    changed = write_manifest(tmp_path / "changed.jsonl", [{**clips[0], "end_frame": 9}])
    with pytest.raises(UsageError, match=f"changed.jsonl:1.*clip {clips[0]['clip_id']} as the output has it"):
        run(SegmentOptions(changed, str(finished), weights=weights))
