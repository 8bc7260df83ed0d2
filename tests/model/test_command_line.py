"""The command line that a dataclass makes: its flags, its values, and a mistake as one sentence with status 2."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from typer import Argument, Option
from typer.testing import CliRunner

from model.command_line import add_command, comma_separated, command_line, main, new_app


class Refused(Exception):
    """A mistake of the user."""


def whole(text: str) -> int:
    if not text.isdigit():
        raise Refused(f"--count {text}: expected a number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Area:
    """Options of a part."""

    left: Annotated[int, Option(help="Left side.")] = 0
    names: Annotated[tuple[str, ...], Option(help="Names.", metavar="A,B,...", parser=comma_separated)] = ("none",)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of each form."""

    video: Annotated[str, Argument(help="A video.", metavar="VIDEO")]
    output: Annotated[Path, Option(help="A folder.", metavar="DIR")]
    area: Area = Area()
    boxes: Annotated[tuple[str, ...], Option("--box", help="May be repeated.")] = ()
    count: Annotated[int | None, Option(help="A number.", parser=whole)] = None
    colour: Annotated[Literal["red", "blue"], Option(help="red or blue.")] = "red"
    report: Annotated[bool, Option(help="Write a report.")] = True
    strict: Annotated[bool, Option("--strict", help="Be strict.")] = False
    internal: int = 7

    def __post_init__(self) -> None:
        if self.colour not in ("red", "blue"):
            raise Refused(f"--colour {self.colour}: expected one of red, blue")


def run(arguments: str) -> tuple[Options | None, int, str]:
    """The options that a command line makes, the exit status and what is written on standard error."""
    seen: list[Options] = []

    def job(options: Options) -> int:
        """Do it."""
        seen.append(options)
        return 3

    result = CliRunner().invoke(command_line(job, Refused), arguments.split())
    return seen[0] if seen else None, result.exit_code, result.stderr


def test_what_is_not_given_is_the_dataclass_s_own_default() -> None:
    options, status, _ = run("v.mp4 --output out")
    assert options == Options("v.mp4", Path("out")) and options.area.names == ("none",)
    assert status == 3


def test_each_form_of_an_option_is_read() -> None:
    options, _, _ = run(
        "v.mp4 --output out --left 4 --names a,b, --box 1 --box 2 --count 5 --colour blue --no-report --strict"
    )
    area = Area(4, ("a", "b"))
    assert options == Options("v.mp4", Path("out"), area, ("1", "2"), 5, "blue", report=False, strict=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("v.mp4 --output out --colour green", "error: --colour green: expected one of red, blue\n"),
        ("v.mp4 --output out --count x", "error: --count x: expected a number\n"),
    ],
)
def test_a_value_that_the_dataclass_refuses_is_one_sentence(arguments: str, sentence: str) -> None:
    assert run(arguments) == (None, 2, sentence)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("v.mp4", "'--output'"),
        ("--output out", "'VIDEO'"),
        ("v.mp4 --output", "'--output'"),
        ("v.mp4 --output out --left x", "'--left'"),
        ("v.mp4 --output out --internal 3", "--internal"),
        ("v.mp4 --output out --no-strict", "--no-strict"),
        ("v.mp4 w.mp4 --output out", "w.mp4"),
    ],
)
def test_a_mistake_of_form_is_one_sentence(arguments: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    def job(options: Options) -> None:
        raise AssertionError("the job must not begin")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["job", *arguments.split()])
        main(command_line(job, Refused))
    assert ended.value.code == 2
    written = capsys.readouterr()
    assert written.err.startswith("error: ") and named in written.err and written.err.count("\n") == 1
    assert written.out == ""


def test_commands_have_the_options_of_their_own_dataclass() -> None:
    def area(options: Area) -> None:
        """An area."""
        print(options.left)

    def video(options: Options) -> None:
        """A video."""

    app = new_app()
    add_command(app, area, Refused)
    add_command(app, video, Refused, name="film")
    assert CliRunner().invoke(app, ["area", "--left", "9"]).output == "9\n"
    assert "--box" in CliRunner().invoke(app, ["film", "--help"]).output


def test_an_interrupt_before_the_job_begins_is_status_130(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "from model.command_line import command_line, main\n"
        "from tests.model.test_command_line import Area\n"
        "def job(options: Area) -> None:\n    raise KeyboardInterrupt\n"
        "main(command_line(job, ValueError))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, str(script)], cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True)
    assert done.returncode == 130 and b"Traceback" not in done.stderr


def test_a_place_that_cannot_be_written_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def write(options: Area) -> int:
        """Write somewhere."""
        raise OSError(errno.EROFS, "Read-only file system", "/etc/out")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as status:
        patch.setattr(sys, "argv", ["write"])
        main(command_line(write, Refused))
    assert status.value.code == 2
    assert capsys.readouterr().err == "error: /etc/out cannot be written, its file system is read-only\n"
