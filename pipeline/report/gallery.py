"""The clips that a report shows, each drawn by a Ray task of its own, all within a limit of time.

A decoder that crashes or hangs then takes one clip from the gallery, and never the run with it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from pipeline.report.sample import Sample
from pipeline.report.sheet import ShownClip, show_clip

WITHIN_S = 60.0
"""Longest time for the gallery; clips that are not drawn by then are shown without pictures."""
_POLL_S = 0.25
_AT_ONCE = 16


def draw_gallery(output: str, sample: Sample, folders: Sequence[str], within_s: float = WITHIN_S) -> list[ShownClip]:
    """Draw the clips of the sample, in its order. Ray must be up; nothing that goes wrong with a clip is raised.

    Args:
        output: URI of the output folder.
        sample: the clips.
        folders: where relative video URIs may be seen from.
        within_s: what is not drawn after so many seconds is left.
    """
    import ray

    # Without a claim on CPUs: those of a cluster may all be claimed, and the tasks are few and short.
    draw = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(show_clip)
    at_once = max(2, min(_AT_ONCE, int(ray.cluster_resources().get("CPU", 0))))
    waiting = list(enumerate(sample.clips))[::-1]
    running: dict[Any, int] = {}
    shown: dict[int, ShownClip] = {}
    deadline = time.monotonic() + within_s
    try:
        while (waiting or running) and time.monotonic() < deadline:
            while waiting and len(running) < at_once:
                position, clip = waiting.pop()
                running[draw.remote(output, clip, folders)] = position
            done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
            for task in done:
                position = running.pop(task)
                shown[position] = _result(task, sample.clips[position])
    finally:
        for task in running:
            _cancel(task)
    late = f"the {within_s:.0f} s for the gallery were over"
    return [shown.get(i) or _without(clip, late) for i, clip in enumerate(sample.clips)]


def _result(task: Any, clip: dict[str, Any]) -> ShownClip:
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return _without(clip, f"the process that drew it ended ({type(error).__name__})")


def _without(clip: dict[str, Any], why: str) -> ShownClip:
    return ShownClip(clip, notes=[f"The clip is not drawn: {why}."])


def _cancel(task: Any) -> None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError):
        ray.cancel(task, force=True)
