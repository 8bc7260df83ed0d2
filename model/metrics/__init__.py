"""How well masks agree with the truth, as the field measures it."""

from model.metrics.davis import (
    Statistics,
    boundary_f,
    judged_frames,
    mask_boundary,
    region_j,
    statistics,
)

__all__ = ["Statistics", "boundary_f", "judged_frames", "mask_boundary", "region_j", "statistics"]
