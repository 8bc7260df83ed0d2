"""``python -m model.weights``: say what a checkpoint is, convert it to our safetensors, or measure what int8 needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from model.network.calibration import SHARE, map_errors, map_ranges
from model.video import VideoError
from model.weights.errors import WeightsError
from model.weights.load import LoadedWeights, load_weights, save_weights
from model.weights.windows import windows_of_videos

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="A checkpoint: our safetensors or a public .pth.")]) -> None:
    """Print layout, network, licence and digest of FILE, once it has been checked whole."""
    loaded = _load(file)
    config = loaded.model.config
    parameters = sum(value.numel() for value in loaded.model.parameters())
    branches = "three-branch" if config.variant == "three" else "two-branch"
    refinement = "with refinement" if config.refine else "without refinement"
    print(f"file        {file} ({file.stat().st_size / 1e6:.1f} MB)")
    print(f"layout      {loaded.layout}")
    print(f"network     {branches}, {config.backbone}, {refinement}, {parameters / 1e6:.2f} M parameters")
    print(f"sha256      {loaded.digest}")
    for name, value in loaded.metadata.items():
        print(f"{name:<11} {value}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="The checkpoint to read.")],
    target: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp16",
) -> None:
    """Write FILE as our safetensors, configuration and licence in its header."""
    kind = _dtype(dtype)
    loaded = _load(file)
    origin = {"converted_from": {"layout": loaded.layout, "sha256": loaded.digest}}
    save_weights(target, loaded.model, metadata={**loaded.metadata, **origin}, dtype=kind)
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(help="The checkpoint to read.")],
    target: Annotated[Path, typer.Argument(help="The safetensors file to write; may be FILE where that is ours.")],
    video: Annotated[
        list[Path], typer.Option(help="A video, or a folder of them, to cut windows from; may be repeated.")
    ],
    windows: Annotated[int, typer.Option(help="Windows to measure on.", min=1)] = 32,
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp16",
    seed: Annotated[int, typer.Option(help="Of the windows' places.")] = 1,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Record that int8 was found to lose nothing, so that auto may choose it.")
    ] = False,
) -> None:
    """Measure on real pictures what --precision int8 needs, and write FILE with it; prints each map's error."""
    kind = _dtype(dtype)
    loaded = _load(file)
    try:
        crops = windows_of_videos(video, windows, seed=seed)
    except VideoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    loaded.model.int8_ranges = map_ranges(loaded.model, crops)
    record = {"ranges": loaded.model.int8_ranges, "windows": len(crops), "share": SHARE, "lossless": lossless}
    save_weights(target, loaded.model, metadata={**loaded.metadata, "int8": record}, dtype=kind)
    print("map                             range   int8 error   bf16 error")
    for name, largest, rounded, halved in map_errors(loaded.model, crops):
        print(f"{name:<30} {largest:>6.2f} {rounded:>12.4f} {halved:>12.4f}")
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise typer.BadParameter(f"{name}: expected one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _load(file: Path) -> LoadedWeights:
    try:
        return load_weights(file)
    except WeightsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
