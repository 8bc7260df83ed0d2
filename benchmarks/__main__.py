"""Measurements of the service; every figure stands beside its ceiling or its peer, measured in the same run.

python -m benchmarks              the hardware, the stages and the engine
python -m benchmarks COMMAND      one of the measurements below
"""

from __future__ import annotations

import typer

from benchmarks import end_to_end, engine, forward, gpu, overhead, scale, stages, training

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
app.command("stages")(stages.main)
app.command("forward")(forward.main)
app.command("engine")(engine.main)
app.command("end-to-end")(end_to_end.main)
app.command("overhead")(overhead.main)
app.add_typer(scale.app, name="scale")
app.command("training")(training.main)
app.command("gpu")(gpu.main)


@app.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """Measure stages and engine where no command is named."""
    if context.invoked_subcommand is None:
        stages.main(backbone="resnet18", precision="auto", batch=8, device="auto", threads=2, seconds=1.0)
        print()
        engine.main(
            tracks="1,4,16", backbones="resnet18", precisions="auto", device="auto", threads=2, seconds=2.0, frames=20
        )


if __name__ == "__main__":
    app()
