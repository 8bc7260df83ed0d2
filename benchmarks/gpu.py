"""Proof that a GPU can be trusted with the tracker, and how fast it is: one table, green or red.

    python -m benchmarks gpu

It writes `docs/gpu/<card>.md`. Exit status 0: all is well; 1: something is not; 2: there is no GPU that torch can use.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.gpu_parts import PARTS, Card
from benchmarks.hardware import describe, gpu_state
from benchmarks.tables import markdown
from model.network.cuda import cuda_fault

OUT = Path(__file__).resolve().parents[1] / "docs" / "gpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one part ended: a row of the table."""

    part: str
    well: bool
    detail: str
    seconds: float


def prove(card: Card) -> list[Verdict]:
    """Run every part; one that raises is not well."""
    verdicts = []
    for part in PARTS:
        began = time.perf_counter()
        try:
            well, detail = part(card)
        except Exception as error:
            well, detail = False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        verdicts.append(Verdict(part.__doc__ or "", well, detail, time.perf_counter() - began))
    return verdicts


def report(card_name: str, machine: str, verdicts: list[Verdict]) -> str:
    """The page on a card, in Markdown."""
    rows = [
        (verdict.part, "green" if verdict.well else "**red**", verdict.detail, f"{verdict.seconds:.0f} s")
        for verdict in verdicts
    ]
    return f"# {card_name}\n\n{machine}; `make gpu`\n\n{markdown(('part', '', 'what came of it', 'took'), rows)}\n"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the page on the card.")] = OUT,
) -> None:
    """GPU: agreement with the CPU, memory, failures and speed; green or red, and a page on the card."""
    fault = cuda_fault()
    if fault is not None:
        print(f"there is no GPU here that torch can use: {fault}", file=sys.stderr)
        raise typer.Exit(2)
    name = torch.cuda.get_device_name()
    verdicts = prove(Card())
    page = report(name, f"{describe('cuda')}; {gpu_state()}", verdicts)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.md"
    path.write_text(page)
    print(f"{page}\n{path}")
    raise typer.Exit(0 if all(verdict.well for verdict in verdicts) else 1)
