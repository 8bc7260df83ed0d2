"""A dataclass as the options of a command: each option is written once, as a field, with its help beside it.

    @dataclass(frozen=True)
    class Options:
        output: Annotated[str, typer.Option(help="Folder for the tables.", metavar="URI")]
        boxes: Annotated[tuple[str, ...], typer.Option("--box", help="May be repeated.")] = ()

    def job(options: Options) -> int: ...

    app = command_line(job, UsageError)
    if __name__ == "__main__":
        main(app)
"""

from __future__ import annotations

import errno
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from model import json_lines

USAGE = 2
Errors = type[Exception] | tuple[type[Exception], ...]


def new_app(**settings: Any) -> typer.Typer:
    """A command line without commands, whose messages are plain text."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings)


def command_line(run: Callable[[Any], int | None], errors: Errors) -> typer.Typer:
    """The command line of a program with one command, see `add_command`."""
    app = new_app()
    add_command(app, run, errors)
    return app


def add_command(app: typer.Typer, run: Callable[[Any], int | None], errors: Errors, *, name: str | None = None) -> None:
    """Add a command, whose options are the fields of the dataclass that the one parameter of `run` is annotated with.

    A field is an option where it is `Annotated` with one of `typer.Option` or `typer.Argument`; a field that is a
    dataclass gives its own fields as options. The `parser` of an option makes the field's value of its text; a tuple
    without one is an option that may be repeated. A `Literal` is checked by the dataclass, whose message names the
    option and what is allowed.

    Args:
        app: where the command is added.
        run: does the work and returns the exit status, None for 0; its docstring is the command's help.
        errors: what the dataclass, a parser or `run` raise for a mistake of the user: exit status 2 and one sentence.
        name: of the command, where it is not that of `run`.
    """
    ((_, options),) = ((key, hint) for key, hint in get_type_hints(run).items() if key != "return")

    def command(**given: Any) -> None:
        try:
            status = run(_filled(options, given))
        except errors as error:
            refuse(error)
        raise SystemExit(status or 0)

    command.__doc__ = run.__doc__
    command.__annotations__ = {}
    command.__signature__ = inspect.Signature(list(_parameters(options)))  # type: ignore[attr-defined]
    app.command(name or run.__name__)(command)


def comma_separated(text: str) -> tuple[str, ...]:
    """Read names with commas between: a parser of options."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def refuse(error: object) -> NoReturn:
    """End with exit status 2 and one sentence, which names what is wrong."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(USAGE) from None


def main(app: typer.Typer, *, for_people: bool = True) -> NoReturn:
    """Run a command line to the end of the process; a mistake in it, or a place that is read-only, is one sentence.

    Args:
        app: the command line.
        for_people: whether what it prints is a log, of JSON lines where those are asked for.
    """
    if for_people and json_lines.asked_for():
        json_lines.print_json_lines()
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # no command was named: the help
            print(message, file=sys.stderr)
            raise SystemExit(USAGE) from None
        refuse(message)
    except OSError as error:
        if error.errno == errno.EROFS:
            refuse(f"{error.filename} cannot be written, its file system is read-only")
        raise
    raise SystemExit(status or 0)


def _options(options: type, hints: Mapping[str, Any]) -> Iterator[tuple[Any, Any, ParameterInfo | None]]:
    """Each field of a dataclass with its type, and what makes an option of it (None for a dataclass)."""
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield field, hint, None
            continue
        infos = [info for info in getattr(hint, "__metadata__", ()) if isinstance(info, ParameterInfo)]
        if infos:
            yield field, get_args(hint)[0], infos[0]


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    """The fields of a dataclass as keyword parameters that Typer reads."""
    for field, kind, info in _options(options, get_type_hints(options, include_extras=True)):
        if info is None:
            yield from _parameters(kind)
            continue
        required = field.default is MISSING and field.default_factory is MISSING
        default = None if field.default is MISSING or isinstance(field.default, tuple) else field.default
        unparsed = copy(info)
        unparsed.parser = None
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[_typer_type(kind, info), unparsed],
            default=inspect.Parameter.empty if required else default,
        )


def _typer_type(kind: Any, info: ParameterInfo) -> Any:
    """The type by which Typer reads an option."""
    if info.parser is not None:
        return str
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]] | None  # type: ignore[misc]
    return str if get_origin(kind) is Literal else kind


def _filled(options: type, given: Mapping[str, Any]) -> Any:
    """The dataclass with what was given; its own default where an option was not given."""
    values = {}
    for field, kind, info in _options(options, get_type_hints(options, include_extras=True)):
        if info is None:
            values[field.name] = _filled(kind, given)
        elif given[field.name] is not None:
            value = given[field.name]
            if info.parser is not None:
                value = info.parser(value)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return options(**values)
