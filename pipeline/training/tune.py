"""The search for tracker parameters on Ray Tune: every candidate is tracked by a trial of its own, side by side."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.cluster.connect import connect
from pipeline.errors import UsageError
from pipeline.job import FAILED, FINISHED, print_error, run_job, take_signals_again
from pipeline.training.cache import scratch
from pipeline.training.held_out import check_held_out
from pipeline.training.options import TuneOptions
from pipeline.training.sets import check_set, local_set

BEST, TRIALS = "tracker.json", "trials.csv"


def tune(options: TuneOptions) -> int:
    """Try all candidates and write the best to OUTPUT/tracker.json, all to trials.csv; returns the exit status.

    Of equals the first counts, in the order of candidates and thresholds, as in `python -m model.training tune`.

    Raises:
        UsageError: the weights, the set or the output cannot be used.
    """
    search = options.resolved()
    check_set(search.data)
    check_held_out([search.data], search.sequence, search.split, "--sequence")
    try:
        if not storage.exists(search.weights):
            raise UsageError(f"--weights {search.weights}: there is no such file")
        storage.check_writable(search.output)
    except storage.StorageError as error:
        raise UsageError(str(error)) from error
    return run_job(lambda: _search(search), interrupted="{signal}: ended, nothing written", log_level=logging.WARNING)


def _search(search: TuneOptions) -> int:
    connect()
    take_signals_again()
    rows = _run(search)
    if isinstance(rows, str):
        print_error(rows)
        return FAILED
    best = max(rows, key=lambda row: row["j"])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    storage.write_bytes(storage.join(search.output, TRIALS), text.getvalue().encode())
    storage.write_bytes(storage.join(search.output, BEST), (best["params"] + "\n").encode())
    print(f"J {best['j']:.4f} with {best['params']}: {storage.join(search.output, BEST)}", flush=True)
    return FINISHED


def _run(search: TuneOptions) -> list[dict[str, Any]] | str:
    """A row a candidate and threshold in their order, or what went wrong."""
    # Else Tune takes SIGINT for itself and returns with what trials there are.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    import ray
    from ray import tune as ray_tune

    from model.training.tune import candidates

    cpus = min(search.cpus_per_trial, max(1, int(max(node["Resources"].get("CPU", 1) for node in ray.nodes()))))
    numbers = list(range(len(candidates(search.trials, search.seed))))
    with tempfile.TemporaryDirectory(prefix="siammask-tune-") as folder:
        trainable = ray_tune.with_parameters(trial, search=replace(search, cpus_per_trial=cpus))
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(trainable, {"cpu": cpus}),
            param_space={"number": ray_tune.grid_search(numbers)},
            tune_config=ray_tune.TuneConfig(metric="j", mode="max"),
            run_config=ray_tune.RunConfig(name="search", storage_path=folder, verbose=0),
        )
        results = tuner.fit()
        failed = [str(error).strip().splitlines()[-1] for error in results.errors]
        if failed:
            return f"{len(failed)} of {len(numbers)} trials failed: {failed[0]}"
        done = [results[number] for number in range(len(results))]
        by_number = {result.metrics["number"]: json.loads(result.metrics["rows"]) for result in done if result.metrics}
    return [row for number in numbers for row in by_number[number]]


def trial(config: dict[str, Any], search: TuneOptions) -> None:
    """One candidate: tracks every clip, and reports J at every threshold."""
    import torch
    from ray import tune as ray_tune

    from model.training.evaluate import ClipSet
    from model.training.tune import candidates
    from model.training.tune import tune as try_params
    from model.weights import load_weights

    torch.set_num_threads(search.cpus_per_trial)
    assert search.cache is not None
    cache = Path(search.cache)
    with scratch(cache) as work:
        path = work / "weights"
        storage.download(search.weights, path)
        model = load_weights(path).model
    folder = local_set(search.data, cache, search.split, search.sequence)
    clips = ClipSet(folder, search.split, search.sequence, search.both_ways)
    params = candidates(search.trials, search.seed)[config["number"]]
    rows: list[dict[str, Any]] = [
        {
            "j": result.mean,
            **{f"j_{name}": value for name, value in result.j.items()},
            "params": result.params.to_json(),
        }
        for result in try_params(model, clips, [params], precision=search.precision)  # type: ignore[arg-type]
    ]
    # As text, since Tune's loggers complain at length of values that they cannot draw.
    ray_tune.report({"number": config["number"], "j": max(row["j"] for row in rows), "rows": json.dumps(rows)})
