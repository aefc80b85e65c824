"""From a document, as TOML and JSON give it, to a dataclass whose every field is there and of its type."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from firetree.errors import UserError, nearest

Made = TypeVar("Made")

_SHOWN = 80
"""Letters of a value that are enough to see what it is."""

_LEAST_BEYOND_FLOATS = 1 << 1024


def from_document(kind: type[Made], document: Any, what: str, prefix: str = "") -> Made:
    """The dataclass that a document describes; fields of tables in it are named as in `optim.lr`.

    Args:
        what: the document's name in errors, as in `recipe digits`.
        prefix: what stands before its fields' names there.

    Raises:
        UserError: the first field that the dataclass does not have, that is missing, or of another
            type.
    """
    if not isinstance(document, Mapping):
        where = f"{what}: '{prefix.rstrip('.')}'" if prefix else what
        raise UserError(f"{where} is a table; got {shown(document)}")
    hints = get_type_hints(kind)
    values = {}
    for key, value in document.items():
        if key not in hints:
            close = nearest(prefix + key, [prefix + name for name in hints])
            raise UserError(f"{what} has no field '{prefix}{key}'{close}")
        values[key] = _typed(hints[key], value, what, prefix + key)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        defaults = field.default, field.default_factory
        if field.name not in values and defaults == (dataclasses.MISSING, dataclasses.MISSING):
            raise UserError(f"{what} lacks the field '{prefix}{field.name}'")
    return kind(**values)


def shown(value: object) -> str:
    """A value as an error's text shows it, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # of a number with thousands of digits
        text = "a number too long to show"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _typed(hint: Any, value: Any, what: str, name: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    for option in options:
        origin = get_origin(option) or option
        if dataclasses.is_dataclass(option):
            return from_document(cast(type[Any], option), value, what, f"{name}.")
        if origin is tuple and isinstance(value, list):
            part = get_args(option)[0]
            return tuple(_typed(part, it, what, f"{name}[{k}]") for k, it in enumerate(value))
        if origin is Literal and value in get_args(option):
            return value
        if option is float and type(value) is int and abs(value) < _LEAST_BEYOND_FLOATS:
            return float(value)
        if origin in (float, int, str, bool, dict, types.NoneType) and type(value) is origin:
            return value
    raise UserError(f"{what}: {name} = {shown(value)}; expected {_expected(options)}")


def _expected(options: tuple[Any, ...]) -> str:
    names = {dict: "a table", tuple: "a list"}
    return " or ".join(
        ", ".join(map(repr, get_args(option)))
        if get_origin(option) is Literal
        else names.get(get_origin(option) or option, getattr(option, "__name__", str(option)))
        for option in options
        if option is not types.NoneType
    )
