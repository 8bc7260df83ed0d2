"""The layouts a checkpoint can have, and the names they give to the entries of our network.

``official`` is that of the files published with the paper, ``pysot`` that of the PySOT model zoo. Both hold a
three-branch ResNet-50 network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Layout = Literal["official", "pysot"]

_PREFIXES: dict[Layout, dict[str, str]] = {
    "official": {
        "backbone.": "features.features.",
        "neck.": "features.downsample.downsample.",
        "score.": "rpn_model.cls.",
        "box.": "rpn_model.loc.",
        "mask.": "mask_model.mask.",
        "refine.": "refine_model.",
    },
    "pysot": {
        "backbone.": "backbone.",
        "neck.": "neck.downsample.downsample.",
        "score.": "rpn_head.cls.",
        "box.": "rpn_head.loc.",
        "mask.": "mask_head.",
        "refine.": "refine_head.",
    },
}
# A name that only one layout has; `backbone.` alone would also fit other trackers' files.
_TELLTALE: dict[Layout, str] = {"official": "rpn_model.", "pysot": "rpn_head."}


def detect(names: Iterable[str]) -> Layout | None:
    """Tell the layout from the entries' names (without ``module.``), or None where neither fits."""
    names = list(names)
    for layout, prefix in _TELLTALE.items():
        if any(name.startswith(prefix) for name in names):
            return layout
    return None


def public_name(layout: Layout, ours: str) -> str:
    """The name that ``layout`` gives to our state-dict entry ``ours``."""
    for prefix, replacement in _PREFIXES[layout].items():
        if ours.startswith(prefix):
            return replacement + ours[len(prefix) :]
    raise KeyError(f"{ours}: not an entry of the network")


def has_refine(layout: Layout, names: Iterable[str]) -> bool:
    """Whether a checkpoint with these names carries the refinement (the published base models do not)."""
    prefix = _PREFIXES[layout]["refine."]
    return any(name.startswith(prefix) for name in names)
