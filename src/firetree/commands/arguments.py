"""Parse a command line into a dataclass of options with tyro; errors take one line."""

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
Result = TypeVar("Result")

_FLAG = re.compile("--?[A-Za-z]")
"""The start of an option; a negative number is not one."""
(_POSITIONAL,) = get_args(tyro.conf.Positional[str])[1:]


def split_at(arguments: list[str], mark: str) -> tuple[list[str], list[str], list[str]]:
    """The arguments before the first mark, the mark if there is one, and the arguments after it."""
    index = arguments.index(mark) if mark in arguments else len(arguments)
    return arguments[:index], arguments[index : index + 1], arguments[index + 1 :]


def options_end(kind: type[Any], arguments: list[str], final: tuple[str, ...]) -> int:
    """How many arguments at the start are options and their values; a final one is the last of them."""
    known, end = dict(_flags(kind)), 0
    while end < len(arguments) and arguments[end].startswith("-"):
        flag, equals, _ = arguments[end].partition("=")
        option = known.get(flag.replace("_", "-"))
        has_value = option is not None and not option.switched and not equals
        end += 2 if has_value else 1
        if flag in final:
            break
    return min(end, len(arguments))


def choose(
    verbs: Mapping[str, str],
    program: str,
    arguments: list[str],
    run: Callable[[str, list[str]], Result],
) -> Result | None:
    """Run the verb that the first argument names, with the other arguments; `--help` lists the verbs.

    `verbs` describes each. tyro's own sub-commands would import the options of all verbs, and torch.

    Raises:
        UserError: no verb, or an unknown one.
    """
    match arguments:
        case ["-h" | "--help"]:
            width = max(map(len, verbs))
            lines = "\n".join(f"  {verb:{width}}  {what}" for verb, what in verbs.items())
            end = f"`{program} COMMAND --help` shows its options, `--debug` the traceback of an error."
            output.show(f"usage: {program} COMMAND …\n\n{lines}\n\n{end}")
        case [verb, *rest] if verb in verbs:
            return run(verb, rest)
        case [unknown, *_]:
            raise UserError(f"no command '{unknown}'{nearest(unknown, verbs)}")
        case _:
            raise UserError(f"{program} has no command; expected one of {', '.join(verbs)}")
    return None


def parse(
    kind: type[Options],
    program: str,
    arguments: list[str],
    default: Options | None = None,
    known_names: str = "",
) -> Options:
    """Parse options with tyro; its framed error page becomes one line.

    `known_names` is appended to the help's description.

    Raises:
        UserError: an unknown option or an invalid value.
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
    """The positional arguments, and the values that options give to fields, as in `optim.lr`."""
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
    """Report an unknown option before tyro does, which would report another option's missing value first."""
    known = {"--help": _Option(""), **dict(_flags(kind))}
    for flag in (argument.partition("=")[0].replace("_", "-") for argument in arguments):
        if flag in known and known[flag].place:
            raise UserError(f"unknown option '{flag}'; give {known[flag].place} without an option")
        if _FLAG.match(flag) and flag not in ("-h", *known):
            options = [flag for flag, option in known.items() if not option.place]
            end = nearest(flag, options, otherwise=f"; see {program} --help")
            raise UserError(f"unknown option '{flag}'{end}")


class _Option(NamedTuple):
    """The field of an option, its name in the help if it is positional, and the value of a switch."""

    path: str
    place: str = ""
    switched: str = ""


def _flags(kind: type[Any], above: str = "") -> Iterator[tuple[str, _Option]]:
    """Each field of a dataclass as tyro spells its option, and its aliases.

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
"""The name of a missing option; its help is further to the right."""


def _in_one_line(page: str, program: str) -> str:
    """The error in a framed page: the text below its title, up to the first empty row or rule.

    tyro has no other stable form of its errors.
    """
    rows = [row.strip("│ ") for row in page.splitlines()[1:]]
    text = " ".join(rows)
    if text.startswith("Missing from "):
        names = _NAME.findall(page.partition("│ ─")[0])
        be = "are" if len(names) > 1 else "is"
        return f"{output.listed(names)} {be} missing; see {program} --help"
    if found := _NO_NUMBER.match(text):
        expected = "a whole number" if found[2].endswith("int") else "a number"
        return f"{found[1]} is {found[4]}; expected {expected}"
    if found := _NO_VALUE.match(text):
        return f"{found[1]} has no value; expected one"
    end = next((k for k, row in enumerate(rows) if not row or row[0] in "─╰"), len(rows))
    return " ".join(rows[:end])
