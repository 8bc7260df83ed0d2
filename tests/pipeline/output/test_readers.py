"""What other tools read in an output: polars, DuckDB and pycocotools, with a plain glob."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars
import pycocotools.mask

from pipeline import storage
from pipeline.output import lease
from pipeline.output.schema import MASKS
from tests.conftest import S3Store
from tests.pipeline.output.output_parts import feed, read, writer


def test_other_tools_read_a_plain_glob(output: str, tmp_path: Path, held: lease.Lease, s3_store: S3Store) -> None:
    with writer(output, tmp_path) as one:
        for clip_id, status in (("a", "ok"), ("b", "partial"), ("c", "failed")):
            feed(one, clip_id, status)
        one.commit()
    local = output
    options: dict[str, Any] = {}
    if output.startswith("s3://"):
        local = str(tmp_path / "copy")
        for folder in ("masks", "clips"):
            (tmp_path / "copy" / folder).mkdir(parents=True)
            for entry in storage.list_files(output, f"{folder}/"):
                storage.download(entry.uri, tmp_path / "copy" / folder / storage.name(entry.uri))
        options["storage_options"] = {
            "aws_endpoint_url": s3_store.endpoint,
            "aws_access_key_id": s3_store.access_key,
            "aws_secret_access_key": s3_store.secret_key,
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    assert polars.read_parquet(f"{output}/masks/*.parquet", **options).shape == (12, len(MASKS))
    assert polars.read_parquet(f"{output}/clips/*.parquet", **options)["status"].sort().to_list() == [
        "failed",
        "ok",
        "partial",
    ]
    joined = duckdb.sql(
        f"SELECT m.clip_id, m.mask, m.corners, m.bbox.w FROM read_parquet('{local}/masks/*.parquet',"
        f" filename=true) m JOIN '{local}/clips/*.parquet' c ON parse_filename(m.filename) = c.masks_part"
        " AND m.clip_id = c.clip_id"
    ).fetchall()
    assert len(joined) == 12 and len(joined[0][2]) == 8 and joined[0][3] == 20
    decoded = pycocotools.mask.decode(joined[0][1])
    assert decoded.shape == (48, 64) and decoded.sum() == 160
    statuses = duckdb.sql(f"SELECT status FROM '{local}/clips/*.parquet' ORDER BY status").fetchall()
    assert statuses == [("failed",), ("ok",), ("partial",)]


def test_rows_carry_times_in_utc(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path) as one:
        feed(one, "a")
        one.commit()
    row = read(output, "clips")[0]
    assert isinstance(row["started_at"], datetime) and str(row["started_at"].tzinfo) == "UTC"
