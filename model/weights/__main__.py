"""``python -m model.weights``: say what a checkpoint is, or convert it to our safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from model.weights.errors import WeightsError
from model.weights.load import LoadedWeights, load_weights, save_weights

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
    if dtype not in _DTYPES:
        raise typer.BadParameter(f"{dtype}: expected one of {', '.join(_DTYPES)}")
    loaded = _load(file)
    origin = {"converted_from": {"layout": loaded.layout, "sha256": loaded.digest}}
    save_weights(target, loaded.model, metadata={**loaded.metadata, **origin}, dtype=_DTYPES[dtype])
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")


def _load(file: Path) -> LoadedWeights:
    try:
        return load_weights(file)
    except WeightsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
