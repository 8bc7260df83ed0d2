"""An export holds one clip at a time, whatever their number."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline import open_run
from pipeline.export.export_clip import each_clip
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions
from tests.pipeline.export.many_clips import write_many


def test_memory_is_that_of_one_clip(tmp_path: Path) -> None:
    import tracemalloc

    peaks = {}
    for clips in (20, 60):
        write_many(tmp_path / str(clips), clips=clips, objects=1, frames=25)
        options = ExportOptions(str(tmp_path / str(clips)), str(tmp_path / f"out{clips}"), "youtube-vis")
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        assert export_run(options) == 0
        peaks[clips] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pa.total_allocated_bytes() - before < 1 << 20
    assert peaks[60] < 1.2 * peaks[20], peaks


def test_clips_come_one_at_a_time(tmp_path: Path) -> None:
    write_many(tmp_path, clips=12, objects=2, frames=200)
    clips = each_clip(open_run(str(tmp_path)), [f"c{number:04d}" for number in range(12)])
    held = []
    for clip in clips:
        assert clip.tracks.table.num_rows == 400
        held.append(pa.total_allocated_bytes())
        del clip
    assert max(held[2:]) < 1.5 * max(held[:2])
