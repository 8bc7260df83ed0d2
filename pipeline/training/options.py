"""The options of a search for tracker parameters: the fields are those of `jobs/tune.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What `jobs/tune.py` was asked to do; `resolved` gives what every trial is told."""

    weights: Annotated[str, Option(help="A weights file.", metavar="URI")]
    data: Annotated[str, Option(help="A set with sequences and masks.", metavar="URI")]
    output: Annotated[str, Option(help="Folder for tracker.json and trials.csv.", metavar="URI")]
    sequence: Annotated[tuple[str, ...], Option(help="Sequences to track [those held out of training].")] = ()
    both_ways: Annotated[bool, Option("--both-ways", help="Track each sequence backwards too.")] = False
    split: Annotated[str, Option(help="Their split.")] = "train"
    trials: Annotated[int, Option(help="Parameter sets to try.")] = 12
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    seed: Annotated[int, Option(help="Of the random parameter sets.")] = 1
    cpus_per_trial: Annotated[int, Option(help="CPUs that a trial claims.")] = 2
    cache: Annotated[str | None, Option(help="Folder of each node for copied sets.")] = None

    def resolved(self) -> TuneOptions:
        """The same on every node: absolute URIs, one precision, and names and folders where none were given.

        Raises:
            UsageError: a URI or the precision cannot be used.
        """
        from model.network.inference import resolve_precision
        from model.training.config import HELD_OUT
        from pipeline import storage
        from pipeline.training.cache import default_cache

        try:
            return replace(
                self,
                weights=storage.parse(self.weights).uri,
                data=storage.parse(self.data).uri,
                output=storage.parse(self.output).uri,
                sequence=self.sequence or HELD_OUT,
                precision=resolve_precision(self.precision, "cpu"),
                cache=str(Path(self.cache).resolve() if self.cache else default_cache()),
            )
        except (storage.StorageError, ValueError) as error:
            raise UsageError(str(error)) from error
