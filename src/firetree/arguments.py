"""From a command line to a dataclass of options: read by tyro, refused in one line."""

from __future__ import annotations

import contextlib
import inspect
import io
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

import tyro

from firetree.errors import UserError, nearest

Options = TypeVar("Options")


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
    known = _flags(kind)
    for flag in (argument.partition("=")[0] for argument in arguments):
        if flag.startswith("--") and flag.replace("_", "-") not in known:
            raise UserError(f"no option '{flag}'{nearest(flag, known)}")
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
        raise UserError(_first_paragraph(page.getvalue())) from end
    if unknown:
        raise UserError(f"unexpected '{unknown[0]}'; see {program} --help")
    return cast(Options, options)


def _first_paragraph(page: str) -> str:
    """The text of a framed page from below its title to the first empty row or rule."""
    rows = [row.strip("│ ") for row in page.splitlines()[1:]]
    end = next((k for k, row in enumerate(rows) if not row or row[0] in "─╰"), len(rows))
    return " ".join(rows[:end])


def _flags(kind: type[Any], prefix: str = "--") -> list[str]:
    """Every option of a dataclass, as tyro spells it."""
    flags = ["--help"]
    hints = get_type_hints(kind)
    for entry in fields(kind):
        if entry.name == "recipe":
            flags += _flags(hints[entry.name], prefix)
        elif is_dataclass(hints[entry.name]):
            flags += _flags(hints[entry.name], f"{prefix}{entry.name}.")
        else:
            name = entry.name.replace("_", "-")
            flags += (
                [prefix + name, f"{prefix}no-{name}"]
                if hints[entry.name] is bool
                else [prefix + name]
            )
    return flags
