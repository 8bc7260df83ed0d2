"""How the service grows with its GPUs: what a null model shows here, and what a queue of measured times says of 512.

python -m benchmarks scale two-actors      the null-model corpus with one actor and with two, measured
python -m benchmarks scale rates           driver, control room, object store and storage on this machine, measured
python -m benchmarks scale table           1 to 512 GPUs, computed from rates
python -m benchmarks scale nodes           one node of 16 or 96 CPUs with 1 or 8 GPUs, computed from rates
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from benchmarks.clips import write_clip
from benchmarks.hardware import describe
from benchmarks.null_model import NullEngine
from benchmarks.scale_model import Cluster, Corpus, Rates, actor_rate, most_gpus, simulate, stage_rates
from benchmarks.tables import markdown

app = typer.Typer(help=__doc__, add_completion=False)
NODES = ((16, 1), (96, 1), (16, 8), (96, 8))
"""CPUs and GPUs."""
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class Finish:
    """A run of the null-model corpus.

    Attributes:
        actors: how many there might be.
        worked: how many tracked.
        working_s: from the first clip's start to the last one's end.
        clip_s: between the ends of two clips, by least squares over the middle three fifths: all actors are at work.
    """

    actors: int
    worked: int
    working_s: float
    clip_s: float


def build_sleeping(model: Any, placement: Any, precision: Any, *, frame_s: float, worked: Path) -> NullEngine:
    """A null engine whose device is taken for a fixed time a frame, so that actors do not compete for this CPU.

    Args:
        worked: a folder that gets a file for each process that tracks.
    """
    return NullEngine(frame_s, (worked / str(os.getpid())).touch)


def null_run(
    folder: Path, actors: int, *, clips: int, frames: int, frame_s: float, at_first: int | None = None
) -> Finish:
    """Run a corpus of tiny clips through the job, with a model that sleeps. Ray must be up.

    Args:
        actors: how many there are; with `at_first` less, how many there may be.
    """
    from pipeline.driver.run import run
    from pipeline.plan.options import ActorCount, SegmentOptions

    video = write_clip(folder / "video.mp4", width=96, height=64, objects=1, frames=frames)
    manifest, output, worked = folder / "manifest.jsonl", folder / f"out-{actors}", folder / f"worked-{actors}"
    worked.mkdir()
    same = {"video_uri": str(video.path), "objects": [{"box": video.boxes[0]}]}
    rows = [{"clip_id": f"c{i:05d}", **same} for i in range(clips)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = SegmentOptions(
        manifest=str(manifest),
        output=str(output),
        device="cpu",
        decoder="pyav",
        actors=ActorCount(at_first or actors, actors),
        clips_per_file=2,
        report=False,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as log:
        status = run(options, build_engine=partial(build_sleeping, frame_s=frame_s, worked=worked))
    if status:
        raise RuntimeError(f"the job ended with status {status}: {log.getvalue()[-2000:]}")
    table = pq.read_table(output / "clips", columns=["started_at", "finished_at", "status"])
    if table.num_rows != clips or set(table["status"].to_pylist()) != {"ok"}:
        raise RuntimeError("not every clip was finished")
    ends = np.sort([moment.timestamp() for moment in table["finished_at"].to_pylist()])
    middle = ends[clips // 5 : clips * 4 // 5]
    clip_s, _ = np.polyfit(np.arange(len(middle)), middle - ends[0], 1)
    working_s = float(ends[-1]) - pc.min(table["started_at"]).as_py().timestamp()
    return Finish(actors, len(list(worked.iterdir())), working_s, float(clip_s))


@app.command("two-actors")
def two_actors(
    clips: Annotated[int, typer.Option(help="Clips of the corpus.")] = 48,
    frames: Annotated[int, typer.Option(help="Frames of a clip, 96x64, one object.")] = 12,
    frame_ms: Annotated[float, typer.Option(help="Milliseconds that the model sleeps a frame.")] = 100.0,
) -> None:
    """Measure the null-model corpus with one actor and with two."""
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False, configure_logging=False)
    with tempfile.TemporaryDirectory() as name:
        single, double = (
            null_run(Path(name), actors, clips=clips, frames=frames, frame_s=frame_ms / 1e3) for actors in (1, 2)
        )
    ray.shutdown()
    rows = []
    for run in (single, double):
        whole, middle = single.working_s / run.working_s, single.clip_s / run.clip_s
        rows.append((str(run.actors), f"{run.working_s:.1f}", f"{whole:.2f}", f"{run.clip_s:.2f}", f"{middle:.2f}"))
    print(f"{describe('cpu')}; {clips} clips of {frames} frames, {frame_ms:g} ms a frame\n")
    head = ("actors", "seconds, first clip's start to last one's end", "times one actor")
    print(markdown((*head, "seconds a clip while all work", "times one actor"), rows))


@app.command("rates")
def rates(
    track_frames: Annotated[float, typer.Option(help="Track-frames/s of an actor: `benchmarks engine`.")] = 2000.0,
    decoded_frames: Annotated[float, typer.Option(help="Frames/s that a CPU decodes: `benchmarks stages`.")] = 150.0,
    finished_masks: Annotated[
        float, typer.Option(help="Windows cut and masks finished a second by a CPU: `benchmarks stages`.")
    ] = 2500.0,
    nodes: Annotated[int, typer.Option(help="Fake nodes with an actor each.")] = 4,
) -> None:
    """Measure what the driver, the control room, the object store and the storage take, as JSON."""
    from benchmarks.scale_rates import measure

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    found = measure(
        track_frames=track_frames, decoded_frames=decoded_frames, finished_masks=finished_masks, nodes=nodes
    )
    print(json.dumps(asdict(found), indent=2))


@app.command("nodes")
def nodes(
    rates: Annotated[Path, typer.Option(help="What `rates` printed.")],
    objects: Annotated[int, typer.Option(help="Objects of a clip.")] = 2,
    size: Annotated[str, typer.Option(help="Width x height of a frame.")] = "1280x720",
) -> None:
    """Compute what limits one node, by its CPUs and GPUs."""
    measured = Rates(**json.loads(rates.read_text()))
    width, height = map(int, size.split("x"))
    corpus = Corpus(1, 1, objects, 3 * width * height)
    rows = []
    for cpus, gpus in NODES:
        cluster = Cluster(cpus / gpus)
        rate, limit = actor_rate(measured, corpus, cluster)
        stages = stage_rates(measured, corpus, cluster).values()
        share = rate / stage_rates(measured, corpus, cluster)["tracking"]
        row = (f"{cpus} CPUs, {gpus} GPU{'s' * (gpus > 1)}", *(f"{gpus * stage:,.0f}" for stage in stages))
        rows.append((*row, f"{gpus * rate * objects:,.0f}", f"{share:.0%}", limit))
    head = ("node", "tracking, frames/s", "CPUs, frames/s", "track-frames/s", "of the GPUs' own", "limit")
    print(markdown(head, rows))


@app.command("table")
def table(
    rates: Annotated[Path, typer.Option(help="What `rates` printed.")],
    clips: Annotated[int, typer.Option(help="Clips of the corpus.")] = 10_000_000,
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 300,
    objects: Annotated[int, typer.Option(help="Objects of a clip.")] = 2,
    size: Annotated[str, typer.Option(help="Width x height of a frame.")] = "1280x720",
    clips_per_file: Annotated[int, typer.Option(help="As the job's option.")] = 32,
    cpus_per_gpu: Annotated[int, typer.Option(help="CPUs beside a GPU, those of CPU nodes included.")] = 16,
    price: Annotated[float, typer.Option(help="Price of a GPU's share of the cluster an hour.")] = 0.0,
) -> None:
    """Compute runs on 1 to 512 GPUs from measured rates."""
    measured = Rates(**json.loads(rates.read_text()))
    width, height = map(int, size.split("x"))
    corpus = Corpus(clips, frames, objects, 3 * width * height, clips_per_file)
    cluster = Cluster(cpus_per_gpu)
    video_hours = clips * frames / 30 / 3600
    rows = []
    for gpus in GPUS:
        run = simulate(gpus, measured, corpus, cluster)
        row = [str(gpus), f"{run.hours:,.1f}", f"{run.efficiency:.1%}", f"{run.driver_busy:.1%}"]
        row += [f"{run.control_busy:.1%}", f"{run.edges_s / 60:.0f}", run.limit]
        rows.append((*row, f"{run.hours * gpus * price / video_hours:.4f}") if price else tuple(row))
    head = ["GPUs", "hours", "efficiency", "driver busy", "control room busy", "minutes before and after", "limit"]
    print(markdown((*head, "cost a video-hour") if price else tuple(head), rows))
    most = most_gpus(measured, corpus, cluster)
    print("\nbusy all the time at: " + ", ".join(f"{name} {count:,.0f} GPUs" for name, count in most.items()))


if __name__ == "__main__":
    app()
