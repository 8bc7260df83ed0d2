"""Scores of masks as tables: a row a frame, a row an object, and the means that are reported."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.evaluate.vos import ObjectScores

log = logging.getLogger(__name__)

MEASURES = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay", "still_j")
FRAMES = pa.schema(
    {
        "sequence": pa.string(),
        "object_id": pa.string(),
        "frame_index": pa.int64(),
        "j": pa.float64(),
        "f": pa.float64(),
        "missing": pa.bool_(),
    }
)
OBJECTS = pa.schema(
    {
        "sequence": pa.string(),
        "object_id": pa.string(),
        "category": pa.string(),
        "seen": pa.bool_(),
        "frames": pa.int64(),
        "missing": pa.int64(),
        **{name: pa.float64() for name in MEASURES},
    }
)


def frame_table(scores: Iterable[ObjectScores]) -> pa.Table:
    """A row a judged frame and object."""
    parts = []
    for each in scores:
        names = {"sequence": each.sequence, "object_id": each.object_id}
        columns = {name: pa.array([text] * len(each.frames), pa.string()) for name, text in names.items()}
        missing = np.isin(np.array(each.frames, np.int64), np.array(each.missing, np.int64))
        index = pa.array(each.frames, pa.int64())
        parts.append(pa.table({**columns, "frame_index": index, "j": each.j, "f": each.f, "missing": missing}))
    return pa.concat_tables([FRAMES.empty_table(), *(part.cast(FRAMES) for part in parts)])


def object_table(scores: Iterable[ObjectScores]) -> pa.Table:
    """A row an object; one without a judged frame has none, and is named in a warning."""
    from model.metrics import statistics

    rows = []
    for each in scores:
        if not each.frames:
            log.warning("sequence %s, object %s: no frame to judge; left out", each.sequence, each.object_id)
            continue
        row: dict[str, Any] = {name: getattr(each, name) for name in ("sequence", "object_id", "category", "seen")}
        for name, values in (("j", each.j), ("f", each.f)):
            figures = statistics(values)
            row |= {f"{name}_mean": figures.mean, f"{name}_recall": figures.recall, f"{name}_decay": figures.decay}
        rows.append({**row, "frames": len(each.frames), "missing": len(each.missing), "still_j": each.still_j})
    return pa.Table.from_pylist(rows, schema=OBJECTS)


def means(objects: pa.Table) -> dict[str, dict[str, float]]:
    """Means over objects by group: `all`, and `seen`, `unseen` and `overall` where categories are known.

    `overall` is YouTube-VOS's: the mean of J and F of both groups. A group without objects is left out.
    """
    groups = {"all": objects}
    seen = objects["seen"].to_pylist()
    if any(flag is not None for flag in seen):
        for name, wanted in (("seen", True), ("unseen", False)):
            groups[name] = objects.filter(pa.array([flag is wanted for flag in seen]))
    figures = {}
    for name, table in groups.items():
        if table.num_rows:
            figures[name] = {measure: float(np.mean(table[measure].to_numpy())) for measure in MEASURES}
            figures[name]["objects"] = table.num_rows
            figures[name]["j_and_f"] = (figures[name]["j_mean"] + figures[name]["f_mean"]) / 2
    if "seen" in figures and "unseen" in figures:
        parts = [figures[name][measure] for name in ("seen", "unseen") for measure in ("j_mean", "f_mean")]
        figures["overall"] = {"j_and_f": float(np.mean(parts))}
    return figures


def warn_missing(scores: Sequence[ObjectScores]) -> list[str]:
    """Log, and return, a sentence an object whose rows are missing in some judged frames, with the reason where the run
    says it, and a sentence a sequence for objects of the run that the truth has not."""
    sentences = []
    true: dict[str, list[str]] = {}
    for each in scores:
        true.setdefault(each.sequence, []).append(each.object_id)
    strangers = {each.sequence: each.strangers for each in scores if each.strangers}
    for each in scores:
        if names := strangers.pop(each.sequence, ()):
            sentences.append(
                f"sequence {each.sequence}: the run has object{'s' * (len(names) > 1)} {', '.join(names)}, which the "
                f"truth has not; the truth's are {', '.join(true[each.sequence])}"
            )
        if each.missing:
            shown = ", ".join(map(str, each.missing[:5])) + (", …" if len(each.missing) > 5 else "")
            sentences.append(
                f"sequence {each.sequence}, object {each.object_id}: no row for {len(each.missing)} of "
                f"{len(each.frames)} judged frames ({shown}); they count 0" + (f": {each.why}" if each.why else "")
            )
    for sentence in sentences:
        log.warning(sentence)
    return sentences
