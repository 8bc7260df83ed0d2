"""What the service costs a clip, whatever the model: a null model over very many short real clips.

    python -m benchmarks overhead --clips 10000,100000
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import psutil
import pyarrow.compute as pc
import pyarrow.dataset as ds
import typer

from benchmarks.clips import write_clip
from benchmarks.hardware import describe
from benchmarks.null_model import build_null_engine
from benchmarks.tables import markdown

_VIDEOS = 20


class _Memory:
    """The largest resident size of this process, the driver, looked at ten times a second."""

    def __enter__(self) -> _Memory:
        self.largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.1):
            self.largest = max(self.largest, me.memory_info().rss)


def main(
    clips: Annotated[str, typer.Option(help="Clips of each manifest.")] = "1000,10000",
    frames: Annotated[int, typer.Option(help="Frames of a clip, 96x64.")] = 4,
    decoder: Annotated[str, typer.Option(help="decord or pyav.")] = "pyav",
) -> None:
    """Overhead: ms a clip and the driver's memory with a model that does nothing; decoding is real."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    from pipeline.driver.run import run
    from pipeline.plan.options import SegmentOptions

    ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [
            write_clip(folder / f"{i}.mp4", width=96, height=64, objects=1, frames=frames, seed=i).path.name
            for i in range(_VIDEOS)
        ]
        for count in map(int, clips.split(",")):
            manifest, output = folder / f"{count}.jsonl", folder / f"out-{count}"
            with manifest.open("w") as file:
                for i in range(count):
                    row = {"clip_id": f"clip-{i:08d}", "video_uri": videos[i % _VIDEOS]}
                    file.write(json.dumps({**row, "objects": [{"box": [40, 24, 10, 10]}]}) + "\n")
            options = SegmentOptions(manifest=str(manifest), output=str(output), decoder=decoder, device="cpu")  # type: ignore[arg-type]
            started, began = time.perf_counter(), time.time()
            quiet = contextlib.redirect_stderr(io.StringIO())
            with _Memory() as memory, contextlib.redirect_stdout(io.StringIO()), quiet:
                status = run(options, build_engine=build_null_engine)
            wall = time.perf_counter() - started
            if status:
                raise RuntimeError(f"the job ended with status {status}")
            first, last = _ends(output)
            working = 1e3 * (last - first) / count
            figures = (f"{wall:.0f}", f"{first - began:.0f}", f"{wall - (last - began):.0f}", f"{working:.2f}")
            rows.append((f"{count:,}", *figures, f"{1e3 * wall / count:.2f}", f"{memory.largest / 1e6:.0f}"))
            shutil.rmtree(output)
    ray.shutdown()
    print(f"{describe('cpu')}; decoder {decoder}, clips of {frames} frames of 96x64\n")
    columns = (
        "clips", "wall, s", "before the first clip, s", "after the last, s", "ms a clip between", "ms a clip of all",
        "driver's largest resident size, MB",
    )  # fmt: skip
    print(markdown(columns, rows))


def _ends(output: Path) -> tuple[float, float]:
    """When the first clip started and the last one ended, in seconds since the epoch."""
    table = ds.dataset(output / "clips").to_table(columns=["started_at", "finished_at"])
    return (
        pc.min(table["started_at"]).as_py().timestamp(),
        pc.max(table["finished_at"]).as_py().timestamp(),
    )
