"""`python -m model.training convert`: write the tables of a data set beside its files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.training import convert
from model.training.convert import ConvertError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Write the tables of a data set.")

Root = Annotated[Path, typer.Argument(help="folder that the data set was unpacked to")]
Out = Annotated[Path | None, typer.Option(help="folder for the tables [ROOT]")]


@app.command("davis")
def davis_command(root: Root, out: Out = None, year: Annotated[int, typer.Option(help="2016 or 2017")] = 2016) -> None:
    """DAVIS: JPEGImages/480p, Annotations/480p, ImageSets; train and val."""
    to = out or root
    _convert("DAVIS", lambda bar: convert.convert_davis(root, to, year=year, progress=bar), to)


@app.command("youtube-vos")
def youtube_vos_command(root: Root, out: Out = None, split: str = "train") -> None:
    """YouTube-VOS: JPEGImages, Annotations and meta.json of one split."""
    to = out or root
    _convert("YouTube-VOS", lambda bar: convert.convert_youtube_vos(root, to, split=split, progress=bar), to)


@app.command("coco")
def coco_command(
    instances: Annotated[Path, typer.Argument(help="instances_*.json")],
    images: Annotated[Path, typer.Argument(help="folder of its pictures")],
    out: Annotated[Path, typer.Option(help="folder for the tables")],
    split: str = "train",
) -> None:
    """COCO: pictures with instances; crowds are left out."""
    _convert("COCO", lambda bar: convert.convert_coco(instances, images, out, split=split, progress=bar), out)


@app.command("imagenet-vid")
def imagenet_vid_command(root: Root, out: Out = None, split: str = "train") -> None:
    """ImageNet-VID: boxes without masks, from its XML files."""
    to = out or root
    _convert("ImageNet-VID", lambda bar: convert.convert_imagenet_vid(root, to, split=split, progress=bar), to)


@app.command("service")
def service_command(
    run: Annotated[Path, typer.Argument(help="output folder of jobs/segment.py")],
    out: Annotated[Path, typer.Option(help="folder for the tables")],
    videos: Annotated[Path | None, typer.Option(help="folder that relative video URIs start from")] = None,
    least_score: Annotated[float, typer.Option(help="rows below are left out")] = 0.7,
    split: str = "train",
) -> None:
    """The service's own output, as pseudo-labels."""

    def work(bar: Callable[[int, int], None]) -> int:
        return convert.convert_service(run, out, videos=videos, least_score=least_score, split=split, progress=bar)

    _convert("clips", work, out)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function of name, done and total that moves a bar; nothing is drawn where nobody looks."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        tasks: dict[str, object] = {}

        def move(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)  # type: ignore[arg-type]

        yield move


def _convert(name: str, work: Callable[[Callable[[int, int], None]], int], out: Path) -> None:
    try:
        with progress_bar() as bar:
            count = work(lambda done, total: bar(name, done, total))
    except ConvertError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{count} sequences in {out}/sequences.parquet and {out}/masks.parquet")
