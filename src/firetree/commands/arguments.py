"""From a command line to a dataclass of options: read by tyro, refused in one line."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from firetree import output
from firetree.errors import UserError, nearest

Options = TypeVar("Options")

_FLAG = re.compile("--?[A-Za-z]")
"""How an option begins; a number below 0 begins otherwise."""
(_POSITIONAL,) = get_args(tyro.conf.Positional[str])[1:]


def split_at(arguments: list[str], mark: str) -> tuple[list[str], list[str], list[str]]:
    """What stands before the first mark, the mark if there is one, and what stands behind it."""
    place = arguments.index(mark) if mark in arguments else len(arguments)
    return arguments[:place], arguments[place : place + 1], arguments[place + 1 :]


def choose(
    verbs: Mapping[str, str],
    program: str,
    arguments: list[str],
    run: Callable[[str, list[str]], object],
) -> None:
    """Run the verb of a program that the first argument names with the rest, or show the verbs.

    `verbs` says what each does. tyro's own would need the options of all, and import torch for them.

    Raises:
        UserError: no verb, or an unknown one.
    """
    match arguments:
        case ["-h" | "--help"]:
            width = max(map(len, verbs))
            lines = "\n".join(f"  {verb:{width}}  {what}" for verb, what in verbs.items())
            end = f"`{program} COMMAND --help` tells more. `--debug` shows the traceback of a failure."
            output.show(f"usage: {program} COMMAND …\n\n{lines}\n\n{end}")
        case [verb, *rest] if verb in verbs:
            run(verb, rest)
        case [unknown, *_]:
            raise UserError(f"no command '{unknown}'{nearest(unknown, verbs)}")
        case _:
            raise UserError(f"{program} has no command; expected one of {', '.join(verbs)}")


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
        raise UserError(_in_one_line(page.getvalue(), program)) from end
    # Options of parts that the default does not have are left; they have been read before.
    placed, _ = placed_and_named(kind, unknown)
    if placed:
        raise UserError(f"'{placed[0]}' is one argument too many; see {program} --help")
    return cast(Options, options)


def placed_and_named(kind: type[Any], arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments without an option, and the values that options give to fields, as in `optim.lr`."""
    known, placed, named = dict(_flags(kind)), list[str](), dict[str, str]()
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not _FLAG.match(flag):
            placed.append(argument)
            continue
        option = known.get(flag.replace("_", "-"), _Option(""))
        named[option.path] = value if equals else option.switched or next(rest, "")
    named.pop("", None)
    return placed, named


def _refuse_unknown(kind: type[Any], program: str, arguments: list[str]) -> None:
    """Before tyro, which would miss a value first where an unknown option has taken its place."""
    known = {"--help": _Option(""), **dict(_flags(kind))}
    for flag in (argument.partition("=")[0].replace("_", "-") for argument in arguments):
        if flag in known and known[flag].place:
            raise UserError(f"unknown option '{flag}'; give {known[flag].place} by its place alone")
        if _FLAG.match(flag) and flag not in ("-h", *known):
            options = [flag for flag, option in known.items() if not option.place]
            end = nearest(flag, options, otherwise=f"; see {program} --help")
            raise UserError(f"unknown option '{flag}'{end}")


class _Option(NamedTuple):
    """The field of an option, its name in the help if it is given by its place alone, and the value
    that a switch gives it."""

    path: str
    place: str = ""
    switched: str = ""


def _flags(kind: type[Any], above: str = "") -> Iterator[tuple[str, _Option]]:
    """Every field of a dataclass as an option, as tyro spells it, and its short form.

    If a field is one of several dataclasses, the options of all.
    """
    for name, hint in get_type_hints(kind, include_extras=True).items():
        bare, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        path = above + name
        parts = [cast(type, one) for one in get_args(bare) or (bare,) if is_dataclass(one)]
        for part in parts:
            yield from _flags(part, above if name == "recipe" else f"{path}.")
        if parts:
            continue
        place = notes[1].metavar if _POSITIONAL in notes else ""
        yield _flag(path), _Option(path, place, "true" if bare is bool else "")
        for other in (alias for note in notes for alias in getattr(note, "aliases", None) or ()):
            yield other, _Option(path)
        if bare is bool:
            yield _flag(f"{above}no_{name}"), _Option(path, switched="false")


def _flag(path: str) -> str:
    return "--" + path.replace("_", "-")


_NO_NUMBER = re.compile(
    r"Error parsing (\S+): .*?"
    r"(invalid literal for int|could not convert string to float)[^:]*: (['\"])(.*?)\3"
)
_NO_VALUE = re.compile(r"Missing value for argument '(\S+)'")
_NAME = re.compile(r"^│ {5}(\S+)", re.MULTILINE)
"""Where a missing option begins; its help is further to the right."""


def _in_one_line(page: str, program: str) -> str:
    """What a framed page says is wrong: below its title, up to the first empty row or rule.

    tyro gives its errors in no other form that it keeps.
    """
    rows = [row.strip("│ ") for row in page.splitlines()[1:]]
    text = " ".join(rows)
    if text.startswith("Missing from "):
        *some, last = _NAME.findall(page.partition("│ ─")[0])
        names = f"{', '.join(some)} and {last} are" if some else f"{last} is"
        return f"{names} missing; see {program} --help"
    if found := _NO_NUMBER.match(text):
        expected = "a whole number" if found[2].endswith("int") else "a number"
        return f"{found[1]} is {found[4]}; expected {expected}"
    if found := _NO_VALUE.match(text):
        return f"{found[1]} has no value; expected one"
    end = next((k for k, row in enumerate(rows) if not row or row[0] in "─╰"), len(rows))
    return " ".join(rows[:end])
