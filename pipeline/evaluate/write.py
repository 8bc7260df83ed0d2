"""Write a report of scores to a folder, local or in object storage: Parquet tables, Markdown and charts."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.evaluate import plots
from pipeline.evaluate.presence import describe, presence_scores
from pipeline.evaluate.vos import ObjectScores
from pipeline.evaluate.vos_tables import MEASURES, frame_table, means, object_table
from pipeline.evaluate.vot import VotResult

_HEADINGS = {
    "j_mean": "J mean",
    "j_recall": "J recall",
    "j_decay": "J decay",
    "f_mean": "F mean",
    "f_recall": "F recall",
    "f_decay": "F decay",
    "still_j": "first mask kept, J",
}
_PLACES = 3


def write_vos(folder: str, scores: Sequence[ObjectScores], about: Mapping[str, str], warnings: Sequence[str]) -> str:
    """Write vos.md, vos_objects.parquet, vos_frames.parquet, vos_j.png and vos_success.png; returns the Markdown.

    Args:
        about: what was judged, and how, by name.

    Raises:
        StorageError: a file cannot be written.
    """
    frames, objects = frame_table(scores), object_table(scores)
    several = objects.num_rows > len(set(objects["sequence"].to_pylist()))
    rows = [
        [row["sequence"], *([row["object_id"]] if several else []), *(row[name] for name in MEASURES)]
        for row in objects.to_pylist()
    ]
    groups = means(objects)
    overall = groups.pop("overall", None)
    for name, values in groups.items():
        label = "mean" if name == "all" else f"mean, {name}"
        count = [f"{values['objects']} objects"] if several else []
        rows.append([f"**{label}**", *count, *(values[measure] for measure in MEASURES)])
    lines = ["# Scores of masks", "", *_listed(about), ""]
    lines += [f"J&F {groups['all']['j_and_f']:.{_PLACES}f} over {objects.num_rows} objects.", ""] if groups else []
    if overall:
        lines += [f"Overall, the mean of seen and unseen J and F: {overall['j_and_f']:.{_PLACES}f}.", ""]
    heading = ["sequence", *(["object"] if several else []), *(_HEADINGS[name] for name in MEASURES)]
    lines += markdown_table(heading, rows)
    told = presence_scores(scores)
    lines += ["", *describe(told)] if told else []
    lines += ["", "![J and F by frame](vos_j.png)", "", "![Success](vos_success.png)"]
    lines += ["", "## Missing", "", *(f"- {sentence}" for sentence in warnings)] if warnings else []
    text = "\n".join(lines) + "\n"
    curves: dict[str, np.ndarray] = {"J": frames["j"].to_numpy(), "F": frames["f"].to_numpy()}
    _write(
        folder,
        {
            "vos_frames.parquet": _parquet(frames),
            "vos_objects.parquet": _parquet(objects),
            "vos_j.png": plots.j_by_frame(frames),
            "vos_success.png": plots.success(curves, "frames"),
            "vos.md": text.encode(),
        },
    )
    return text


def write_vot(folder: str, result: VotResult, about: Mapping[str, str]) -> str:
    """Write vot.md, vot_rules.parquet, vot_sequences.parquet, vot_frames.parquet and the charts; returns the Markdown.

    Raises:
        StorageError: a file cannot be written.
    """
    heading = ["rule", "accuracy", "robustness", "reliability", "EAO", "low", "high", "losses", "frames"]
    rules = [[row[name.lower()] for name in heading] for row in result.rules.to_pylist()]
    names = result.sequences.column_names
    sequences = [[row[name] for name in names] for row in result.sequences.to_pylist()]
    lines = ["# Scores of rotated boxes", "", *_listed(about), "", *markdown_table(heading, rules), ""]
    lines += [*markdown_table(names, sequences), "", "![Overlap by frame](vot_overlap.png)", ""]
    lines += ["![Success](vot_success.png)", "", "![EAO](vot_eao.png)"]
    text = "\n".join(lines) + "\n"
    # A lost frame is one without overlap; frames in which the tracker said nothing are not judged.
    overlaps = result.frames["overlap"].drop_null().to_numpy()
    _write(
        folder,
        {
            "vot_frames.parquet": _parquet(result.frames),
            "vot_sequences.parquet": _parquet(result.sequences),
            "vot_rules.parquet": _parquet(result.rules),
            "vot_overlap.png": plots.overlap_by_frame(result.frames),
            "vot_success.png": plots.success({"overlap": overlaps}, "tracked frames"),
            "vot_eao.png": plots.eao(result.scores),
            "vot.md": text.encode(),
        },
    )
    return text


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table; numbers with three places, nothing where there is no value."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{_PLACES}f}" if isinstance(value, float | np.floating) else str(value)


def _listed(about: Mapping[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in about.items()]


def _parquet(table: pa.Table) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made, compression="zstd")
    return made.getvalue()


def _write(folder: str, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        storage.write_bytes(storage.join(folder, name), content)
