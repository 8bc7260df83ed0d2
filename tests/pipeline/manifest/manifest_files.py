"""Small manifests of every kind, and what reading them gives."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.manifest import ManifestError, read_manifest

BOX = [1.0, 2.0, 30.0, 40.0]
HEADER = "video_uri,clip_id,start_frame,end_frame,object_id,init_frame,x,y,w,h"


def row(clip_id="a", **changes):
    return {"video_uri": "v.mp4", "clip_id": clip_id, "objects": [{"box": BOX}], **changes}


def write_lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in rows))
    return str(path)


def write_parquet(path, rows, **options):
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options)
    return str(path)


def write_csv(path, lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def read(uri, **options):
    return read_manifest(str(uri), in_process=True, **options)


def clips(uri, **options):
    return list(read(uri, **options).clips())


def problems(uri, **options):
    """(file name, row, column) of each problem."""
    with pytest.raises(ManifestError) as caught:
        read(uri, **options)
    found = caught.value.problems
    for problem in found:
        assert str(problem) in str(caught.value)
    return [(problem.file.rsplit("/", 1)[-1], problem.row, problem.column) for problem in found]


def message(uri, **options):
    with pytest.raises(ManifestError) as caught:
        read(uri, **options)
    return str(caught.value)
