"""The search for tracker parameters on Ray Tune: every candidate is tracked by a trial of its own, side by side."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.interrupt import interruptible, signal_name, take_signals_again
from pipeline.options import UsageError
from pipeline.raycluster import connect
from pipeline.training.cache import scratch
from pipeline.training.held_out import check_held_out
from pipeline.training.sets import check_set, local_set

BEST, TRIALS = "tracker.json", "trials.csv"


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched.

    Attributes:
        weights: URI of the weights file.
        data: URI of a training set.
        split, sequences: what is tracked.
        both_ways: whether each sequence is tracked backwards too.
        candidates: parameter sets to try, as JSON; every mask threshold is judged for each.
        precision: fp32 or bf16, the same for every trial.
        cache: folder of each node for copied sets.
        cpus: what a trial claims.
    """

    weights: str
    data: str
    split: str
    sequences: tuple[str, ...]
    both_ways: bool
    candidates: tuple[str, ...]
    precision: str
    cache: str
    cpus: int


def tune(search: Search, output: str) -> int:
    """Try all candidates and write the best to `output`/tracker.json, all to trials.csv; returns the exit status.

    Of equals the first counts, in the order of candidates and thresholds, as in `python -m model.training tune`.

    Raises:
        UsageError: the weights, the set or the output cannot be used.
    """
    check_set(search.data)
    check_held_out([search.data], search.sequences, search.split, "--sequence")
    try:
        if not storage.exists(search.weights):
            raise UsageError(f"--weights {search.weights}: there is no such file")
        storage.check_writable(output)
    except storage.StorageError as error:
        raise UsageError(str(error)) from error
    with interruptible():
        try:
            connect()
            take_signals_again()
            rows = _run(search)
        except KeyboardInterrupt:
            print(f"{signal_name()}: ended, nothing written", file=sys.stderr)
            return 130
    if isinstance(rows, str):
        print(f"error: {rows}", file=sys.stderr)
        return 1
    best = max(rows, key=lambda row: row["j"])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    storage.write_bytes(storage.join(output, TRIALS), text.getvalue().encode())
    storage.write_bytes(storage.join(output, BEST), (best["params"] + "\n").encode())
    print(f"J {best['j']:.4f} with {best['params']}: {storage.join(output, BEST)}", flush=True)
    return 0


def _run(search: Search) -> list[dict[str, Any]] | str:
    """A row a candidate and threshold in their order, or what went wrong."""
    # Else Tune takes SIGINT for itself and returns with what trials there are.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    import ray
    from ray import tune as ray_tune

    cpus = min(search.cpus, max(1, int(max(node["Resources"].get("CPU", 1) for node in ray.nodes()))))
    numbers = list(range(len(search.candidates)))
    with tempfile.TemporaryDirectory(prefix="siammask-tune-") as folder:
        told = ray_tune.with_parameters(trial, search=asdict(search) | {"cpus": cpus})
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(told, {"cpu": cpus}),
            param_space={"number": ray_tune.grid_search(numbers)},
            tune_config=ray_tune.TuneConfig(metric="j", mode="max"),
            run_config=ray_tune.RunConfig(name="search", storage_path=folder, verbose=0),
        )
        results = tuner.fit()
        failed = [str(error).strip().splitlines()[-1] for error in results.errors]
        if failed:
            return f"{len(failed)} of {len(numbers)} trials failed: {failed[0]}"
        done = [results[number] for number in range(len(results))]
        by_number = {one.metrics["number"]: json.loads(one.metrics["rows"]) for one in done if one.metrics}
    return [row for number in numbers for row in by_number[number]]


def trial(config: dict[str, Any], search: dict[str, Any]) -> None:
    """One candidate: tracks every clip, and reports J at every threshold."""
    import torch
    from ray import tune as ray_tune

    from model.tracker import params_from_json
    from model.training.evaluate import ClipSet
    from model.training.tune import tune as try_params
    from model.weights import load_weights

    wanted = Search(**search)
    torch.set_num_threads(wanted.cpus)
    cache = Path(wanted.cache)
    with scratch(cache) as mine:
        path = mine / "weights"
        storage.download(wanted.weights, path)
        model = load_weights(path).model
    folder = local_set(wanted.data, cache, wanted.split, wanted.sequences)
    clips = ClipSet(folder, wanted.split, wanted.sequences, wanted.both_ways)
    params = params_from_json(wanted.candidates[config["number"]])
    rows: list[dict[str, Any]] = [
        {"j": one.mean, **{f"j_{name}": value for name, value in one.j.items()}, "params": one.params.to_json()}
        for one in try_params(model, clips, [params], precision=wanted.precision)  # type: ignore[arg-type]
    ]
    # As text, since Tune's loggers complain at length of values that they cannot draw.
    ray_tune.report({"number": config["number"], "j": max(row["j"] for row in rows), "rows": json.dumps(rows)})
