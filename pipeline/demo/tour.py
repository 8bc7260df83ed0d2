"""What a reader would do first with a finished output: three DuckDB queries, and the masks held against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
from pycocotools import mask as coco
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the SQL that answers it, ready to paste into DuckDB."""

    title: str
    sql: str


def queries(output: Path) -> tuple[Query, ...]:
    """Three queries over an output folder's tables, whichever clips they hold."""
    clips, masks = _quoted(output / "clips" / "*.parquet"), _quoted(output / "masks" / "*.parquet")
    return (
        Query(
            "How did each clip end?",
            f"SELECT clip_id, status, objects, frames, corrupt_frames, width, height, decoder\n"
            f"FROM {clips}\n"
            f"ORDER BY clip_id",
        ),
        Query(
            "How sure and how large is each track?",
            f"SELECT clip_id, object_id, count(*) AS frames, round(avg(score), 3) AS score,\n"
            f"       min(area) AS smallest_px, max(area) AS largest_px\n"
            f"FROM {masks}\n"
            f"GROUP BY ALL ORDER BY ALL",
        ),
        Query(
            "When does each object move fastest?",
            f"SELECT clip_id, object_id, round(pts_s, 2) AS at_s,\n"
            f"       round(sqrt((rbox.cx - previous.cx) ** 2 + (rbox.cy - previous.cy) ** 2) / dt) AS px_per_s\n"
            f"FROM (SELECT *, lag(rbox) OVER track AS previous, pts_s - lag(pts_s) OVER track AS dt\n"
            f"      FROM {masks}\n"
            f"      WINDOW track AS (PARTITION BY clip_id, object_id ORDER BY frame_index))\n"
            f"WHERE dt > 0\n"
            f"QUALIFY row_number() OVER (PARTITION BY clip_id, object_id ORDER BY px_per_s DESC, at_s) = 1\n"
            f"ORDER BY ALL",
        ),
    )


def show(query: Query, console: Console) -> None:
    """Runs the query and prints it with its result."""
    with duckdb.connect() as connection:
        result = connection.execute(query.sql)
        names = [column[0] for column in result.description or ()]
        rows = result.fetchall()
    console.print(f"\n[bold]{query.title}[/bold]")
    console.print(Syntax(query.sql, "sql", background_color="default", word_wrap=True))
    table = Table(*names)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console.print(table)


def mean_overlap(output: Path, truth: Path) -> float:
    """Mean over objects of the mean intersection over union of masks, the first and last frame left out.

    A frame that the truth has and the output lacks counts as 0.

    Args:
        output: folder with the `masks` table.
        truth: the corpus's `truth.parquet`.
    """
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT clip_id, object_id, truth.mask, found.mask\n"
            f"FROM {_quoted(truth)} AS truth\n"
            f"LEFT JOIN {_quoted(output / 'masks' / '*.parquet')} AS found\n"
            f"USING (clip_id, object_id, frame_index)\n"
            f"WINDOW track AS (PARTITION BY clip_id, object_id)\n"
            f"QUALIFY frame_index > min(frame_index) OVER track AND frame_index < max(frame_index) OVER track"
        ).fetchall()
    tracks: dict[tuple[str, str], list[float]] = {}
    for clip_id, object_id, true_mask, found_mask in rows:
        overlap = 0.0 if found_mask is None else float(coco.iou([found_mask], [true_mask], [0])[0, 0])
        tracks.setdefault((clip_id, object_id), []).append(overlap)
    means = [sum(overlaps) / len(overlaps) for overlaps in tracks.values()]
    return sum(means) / len(means)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
