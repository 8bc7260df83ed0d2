"""How well masks and boxes agree with the truth, as the field measures it."""

from model.metrics.davis import (
    Statistics,
    boundary_f,
    judged_frames,
    mask_boundary,
    region_j,
    statistics,
)
from model.metrics.polygons import polygon_overlap
from model.metrics.supervised import PolygonTracker, State, Trajectory, judged_overlaps, run_supervised
from model.metrics.vot import EAO_WINDOWS, Rule, Scores, Window, scores

__all__ = [
    "EAO_WINDOWS",
    "PolygonTracker",
    "Rule",
    "Scores",
    "State",
    "Statistics",
    "Trajectory",
    "Window",
    "boundary_f",
    "judged_frames",
    "judged_overlaps",
    "mask_boundary",
    "polygon_overlap",
    "region_j",
    "run_supervised",
    "scores",
    "statistics",
]
