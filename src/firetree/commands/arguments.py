"""From a command line to a dataclass of options: read by tyro, refused in one line."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_type_hints

import tyro

from firetree.errors import UserError, nearest

Options = TypeVar("Options")

_FLAG = re.compile("--?[A-Za-z]")
"""How an option begins; a number below 0 begins otherwise."""
(_POSITIONAL,) = get_args(tyro.conf.Positional[str])[1:]


def split_at(arguments: list[str], mark: str) -> tuple[list[str], list[str], list[str]]:
    """What stands before the first mark, the mark if there is one, and what stands behind it."""
    place = arguments.index(mark) if mark in arguments else len(arguments)
    return arguments[:place], arguments[place : place + 1], arguments[place + 1 :]


def parse(
    kind: type[Options],
    program: str,
    arguments: list[str],
    default: Options | None = None,
    known_names: str = "",
) -> Options:
    """Read options through tyro, whose framed page about a wrong one becomes one line.

    `known_names` end the help's description.

    Raises:
        UserError: an option or value that cannot be.
    """
    _refuse_unknown(kind, program, arguments)
    description = f"{inspect.getdoc(kind)} {known_names}"
    page = io.StringIO()
    try:
        with contextlib.redirect_stderr(page):
            options, unknown = tyro.cli(
                kind,
                prog=program,
                description=description,
                args=arguments,
                default=default,
                return_unknown_args=True,
            )
    except SystemExit as end:
        if end.code == 0:
            raise
        raise UserError(_in_one_line(page.getvalue())) from end
    if unknown:
        raise UserError(f"'{unknown[0]}' is one argument too many; see {program} --help")
    return cast(Options, options)


def _refuse_unknown(kind: type[Any], program: str, arguments: list[str]) -> None:
    """Before tyro, which would miss a value first where an unknown option has taken its place."""
    placed = _placed(kind)
    known = ["--help", *(flag for flag in _flags(kind) if flag not in placed)]
    for flag in (argument.partition("=")[0].replace("_", "-") for argument in arguments):
        if flag in placed:
            raise UserError(f"unknown option '{flag}'; give {placed[flag]} by its place alone")
        if _FLAG.match(flag) and flag not in ("-h", *known):
            end = nearest(flag, known, otherwise=f"; see {program} --help")
            raise UserError(f"unknown option '{flag}'{end}")


_NO_NUMBER = re.compile(
    r"Error parsing (\S+): .*?"
    r"(invalid literal for int|could not convert string to float)[^:]*: (['\"])(.*?)\3"
)
_NO_VALUE = re.compile(r"Missing value for argument '(\S+)'")


def _in_one_line(page: str) -> str:
    """What a framed page says is wrong: below its title, up to the first empty row or rule."""
    rows = [row.strip("│ ") for row in page.splitlines()[1:]]
    text = " ".join(rows)
    if found := _NO_NUMBER.match(text):
        expected = "a whole number" if found[2].endswith("int") else "a number"
        return f"{found[1]} is {found[4]}; expected {expected}"
    if found := _NO_VALUE.match(text):
        return f"{found[1]} has no value; expected one"
    end = next((k for k, row in enumerate(rows) if not row or row[0] in "─╰"), len(rows))
    return " ".join(rows[:end])


def _placed(kind: type[Any]) -> dict[str, str]:
    """What is given by its place: the option that it looks like, and its name in the help."""
    noted = _notes(kind)
    return {
        _flag(name): str(notes[1].metavar) for name, notes in noted.items() if _POSITIONAL in notes
    }


def _flags(kind: type[Any], prefix: str = "--") -> list[str]:
    """Every field of a dataclass as an option, as tyro spells it, and its short form."""
    flags = []
    hints, noted = get_type_hints(kind), _notes(kind)
    for entry in fields(kind):
        if entry.name == "recipe":
            flags += _flags(hints[entry.name], prefix)
        elif is_dataclass(hints[entry.name]):
            flags += _flags(hints[entry.name], f"{_flag(entry.name, prefix)}.")
        else:
            flags.append(_flag(entry.name, prefix))
            if hints[entry.name] is bool:
                flags.append(_flag(f"no_{entry.name}", prefix))
            for note in noted[entry.name]:
                flags += getattr(note, "aliases", None) or ()
    return flags


def _flag(name: str, prefix: str = "--") -> str:
    return prefix + name.replace("_", "-")


def _notes(kind: type[Any]) -> dict[str, tuple[Any, ...]]:
    """What `Annotated` says beside each field's type."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
