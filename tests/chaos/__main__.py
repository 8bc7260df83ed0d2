"""The chaos run by hand: python -m tests.chaos --kills 60 --seed 7"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import psutil

from tests.chaos.harness import run_chaos
from tests.chaos.plan import Plan


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and starve the job by a seeded plan; compare its tables.")
    usual = Plan()
    for name in ("clips", "kills", "outages", "seed", "nodes"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name))
    parser.add_argument("--limit-s", type=float, default=usual.limit_s, help="give up after so many seconds")
    parser.add_argument("--folder", type=Path, default=None, help="keeps logs and tables (a temporary folder)")
    given = vars(parser.parse_args())
    folder = given.pop("folder")
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = run_chaos(Plan(**given), folder.resolve(), lambda text: print(text, flush=True))
    memory = psutil.virtual_memory().total / 2**30
    print(f"{platform.machine()}, {psutil.cpu_count()} CPUs, {memory:.0f} GiB, Python {platform.python_version()}")
    print(*figures.lines(), sep="\n")
    print("good" if figures.good else "NOT GOOD")
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
