"""`siammask-batch COMMAND …`: the jobs by their names, for an installed package, which has no `jobs/*.py` to call."""

from __future__ import annotations

import sys
from importlib import import_module

from model.command_line import USAGE, main

COMMANDS = {
    "segment": "track and segment the objects of a manifest's clips",
    "manifest": "build a manifest from videos and labels",
    "render": "draw clips of a run as videos",
    "export": "write a run's masks in the formats of other tools",
    "evaluate": "judge a run against a truth",
    "compact": "merge the small parts of an output",
    "train": "train a network on Ray Train",
    "tune": "search tracker settings on Ray Tune",
    "demo": "track three drawn clips on this machine",
}
_WIDTH = max(map(len, COMMANDS))


def usage() -> str:
    """The commands, one a line."""
    lines = [f"  {name:<{_WIDTH}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: siammask-batch COMMAND …, with --help for its options", "", *lines])


def entry() -> None:
    """Run the command that the first argument names; exit status 2 where it is none."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        print(usage(), file=sys.stdout if name else sys.stderr)
        sys.exit(0 if name else USAGE)
    if name not in COMMANDS:
        print(f"error: {name}: expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(USAGE)
    sys.argv = [f"siammask-batch {name}", *sys.argv[2:]]
    main(import_module(f"jobs.{name}").app)


if __name__ == "__main__":
    entry()
