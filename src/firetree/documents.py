"""Reads JSON and TOML into dataclasses, and checks every value.

A field's type is its check; `Annotated[int, Expect(…)]` narrows it. An error names the file and the path
of the field, as in `plan.json: choices[0][1].chunks = 'x'; expected int`. A table may become one of several
dataclasses: the one that has the table's `name` in the `Literal` of its field `name`, or the one whose `name`
is code of the user's own. TOML has no null, so
the text "None" is None for a field that may be None and takes no text. `durable` writes such files.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import re
import stat
import tomllib
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from firetree.errors import UserError, nearest
from firetree.own_code import is_own

MOST_BYTES = 1 << 30
"""The largest file that is read."""
_INT_BITS = 63
_SHORT = Repr()
_SHORT.maxstring = 80

Kind = TypeVar("Kind")
Read = Callable[[Any], Any]


class Expect(NamedTuple):
    """A check beyond the type, and the words for what it expects."""

    fits: Callable[[Any], bool]
    expected: str


Count = Annotated[int, Expect(lambda value: value >= 0, "0 or more")]
Positive = Annotated[int, Expect(lambda value: value >= 1, "1 or more")]
Finite = Annotated[float, Expect(math.isfinite, "a finite float")]
Seconds = Annotated[float, Expect(lambda value: 0 <= value < 1e15, "seconds from 0 to 1e15")]
Printable = Annotated[str, Expect(str.isprintable, "printable text")]


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file, unpacked if its name ends in .gz; `what` names it in errors.

    Raises:
        UserError: it cannot be read, is not a regular file, or is too large.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise UserError(f"{what} {path} cannot be read: it is {kind}; expected a file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what} {path} cannot be read: {reason}") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{what} {path} is too large; expected at most {MOST_BYTES:,} bytes")
    return content


def read_text(path: Path, what: str) -> str:
    """The text of a file, as by `read_bytes`; UserError too if it is not UTF-8."""
    try:
        return read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not in UTF-8; save it as UTF-8") from error


def parse_json(
    kind: type[Kind], text: str | bytes, source: str, version: int | None = None
) -> Kind:
    """Parse JSON into `kind` by `from_document`; UserError if it is not JSON."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is not JSON: {_why(error, text)}") from error
    return from_document(kind, document, source, version)


def parse_toml(kind: type[Kind], text: str, source: str) -> Kind:
    """Parse TOML into `kind` by `from_document`; UserError if it is not TOML."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is not TOML: {_why(error, text)}") from error
    return from_document(kind, document, source)


def _why(error: Exception, text: str | bytes) -> str:
    if isinstance(error, RecursionError):
        return "its values are nested too deeply"
    if isinstance(error, json.JSONDecodeError | tomllib.TOMLDecodeError | UnicodeDecodeError):
        return str(error)
    letters = text if isinstance(text, str) else text.decode("latin-1")
    number = re.search("[0-9][0-9_]{4300}", letters)
    line = letters.count("\n", 0, number.start() if number else 0) + 1
    return f"line {line} has a number of over 4,300 digits"


def from_document(kind: type[Kind], document: Any, source: str, version: int | None = None) -> Kind:
    """The dataclass that a document describes; lists become tuples, tables dataclasses.

    Args:
        kind: the dataclass; its fields without a default are required.
        document: values as JSON and TOML have them; dataclasses in it stay as they are.
        source: the beginning of errors: the file, and perhaps its line; empty for the field alone.
        version: if given, the document must have it as one more field, `version`.

    Raises:
        UserError: names the first field that is unknown, missing, or does not fit.
    """
    if version is not None and isinstance(document, dict):
        document = {**document}
        told = document.pop("version", None)
        if told != version or type(told) is not int:
            raise UserError(f"{source} is of version {shown(told)}; expected {version}")
    try:
        return cast(Kind, _reader(cast(Any, kind))(document))
    except _MisfitError as misfit:
        raise UserError(misfit.tell(source, misfit.path.removeprefix("."))) from misfit


def shown(value: object) -> str:
    """A value on one short line, whatever it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number too long to show"


class _MisfitError(Exception):
    """A value that does not fit; the path to it is completed on the way up."""

    def __init__(self, tell: Callable[[str, str], str], path: str = ""):
        self.tell, self.path = tell, path

    def under(self, step: str) -> _MisfitError:
        """The same one step further up."""
        self.path = step + self.path
        return self


def _of(source: str) -> str:
    return f"{source}: " if source else ""


def _misfit(value: Any, expected: str) -> _MisfitError:
    def tell(source: str, path: str) -> str:
        field = f"{path} = " if path else ""
        return f"{_of(source)}{field}{shown(value)}; expected {expected}"

    return _MisfitError(tell)


def _stranger(name: str, known: Iterable[str]) -> _MisfitError:
    def tell(source: str, path: str) -> str:
        above = path.removesuffix(name)
        lacks = f"{source} has no field" if source else "no field"
        return f"{lacks} {shown(path)}{nearest(path, [above + one for one in known])}"

    return _MisfitError(tell, f".{name}")


def _missing(name: str) -> _MisfitError:
    return _MisfitError(lambda source, path: f"{source} lacks the field '{path}'", f".{name}")


@cache
def _reader(hint: Any) -> Read:
    """What turns a document into a value of this type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _narrowed(hint.__origin__, hint.__metadata__)
    if origin in (Union, types.UnionType):
        if types.NoneType not in arguments:
            return _one_by_name(arguments)
        (some,) = (_reader(one) for one in arguments if one is not types.NoneType)
        nothing = (None,) if some is _text else (None, "None")
        return lambda value: None if value in nothing else some(value)
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast(type[Any], hint))
    if isinstance(hint, type) and issubclass(hint, tuple):
        hints = get_type_hints(hint, include_extras=True)
        fixed = _tuple(tuple(hints[name] for name in hint._fields))  # type: ignore[attr-defined]
        return lambda value: hint(*fixed(value))
    return _PLAIN[hint]


def _narrowed(hint: Any, notes: tuple[Any, ...]) -> Read:
    read = _reader(hint)
    for note in notes:
        if isinstance(note, Expect):
            read = _fitting(read, note)
    return read


def _fitting(read: Read, expect: Expect) -> Read:
    fits, expected = expect

    def fitting(value: Any) -> Any:
        found = read(value)
        if not fits(found):
            raise _misfit(found, expected)
        return found

    return fitting


def _one_of(known: tuple[Any, ...]) -> Read:
    def one_of(value: Any) -> Any:
        if not any(value == one and type(value) is type(one) for one in known):
            raise _misfit(value, ", ".join(map(repr, known)))
        return value

    return one_of


def _tuple(hints: tuple[Any, ...]) -> Read:
    many = hints[-1:] == (...,)
    reads = [_reader(hint) for hint in hints if hint is not ...]

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _misfit(value, "a list")
        if not many and len(value) != len(reads):
            raise _misfit(value, f"a list of {len(reads)}")
        found: list[Any] = []
        try:
            for entry, one in zip(value, reads * len(value) if many else reads, strict=True):
                found.append(one(entry))
        except _MisfitError as misfit:
            raise misfit.under(f"[{len(found)}]") from None
        return tuple(found)

    return read


def _mapping(hint: Any) -> Read:
    read_value = _reader(hint)

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _misfit(value, "a table")
        found = {}
        for key, each in value.items():
            try:
                found[_text(key)] = read_value(each)
            except _MisfitError as misfit:
                raise misfit.under(f".{shown(key)}") from None
        return found

    return read


def _dataclass(kind: type[Any]) -> Read:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    nothing = dataclasses.MISSING
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is nothing and field.default_factory is nothing
    ]

    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise _misfit(value, "a table")
        for name in value:
            if name not in fields:
                raise _stranger(name, fields)
        found, name = {}, ""
        try:
            for name, each in value.items():
                found[name] = fields[name](each)
        except _MisfitError as misfit:
            raise misfit.under(f".{name}") from None
        for name in required:
            if name not in found:
                raise _missing(name)
        return kind(**found)

    return read


def _one_by_name(kinds: tuple[Any, ...]) -> Read:
    """One of several dataclasses; a table without a name is the first of them."""
    kind_of = {one: kind for kind in kinds for one in get_args(get_type_hints(kind)["name"])}
    own_kind = next((kind for kind in kinds if get_type_hints(kind)["name"] is str), None)
    own = {kind: [field.name for field in dataclasses.fields(kind)] for kind in kinds}
    first = dataclasses.fields(kinds[0])[0].default

    def read(value: Any) -> Any:
        if isinstance(value, kinds):
            return value
        if not isinstance(value, dict):
            raise _misfit(value, "a table")
        try:
            name = _text(value.get("name", first))
        except _MisfitError as misfit:
            raise misfit.under(".name") from None
        kind = own_kind if is_own(name) else kind_of.get(name)
        if kind is None:
            raise _wrong("name", f"{shown(name)} is unknown{nearest(name, kind_of)}")
        for field, given in value.items():
            if field not in own[kind] and any(field in known for known in own.values()):
                given = shown(given).strip("'")
                raise _wrong(field, f"{given}; '{name}' does not have this field, leave it out")
        return _reader(kind)(value)

    return read


def _wrong(name: str, what: str) -> _MisfitError:
    return _MisfitError(lambda source, path: f"{_of(source)}{path} = {what}", f".{name}")


def _int(value: Any) -> int:
    if type(value) is not int:
        raise _misfit(value, "int")
    if value.bit_length() > _INT_BITS:
        raise _misfit(value, "int of at most 64 bits")
    return value


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise _misfit(value, "float")
    try:
        return float(value)
    except OverflowError as error:
        raise _misfit(value, "float") from error


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _misfit(value, "str")
    if not value.isprintable() and re.search("[\0\ud800-\udfff]", value):
        raise _misfit(value, "text of UTF-8 without NUL")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _misfit(value, "bool")
    return value


_PLAIN: dict[Any, Read] = {int: _int, float: _float, str: _text, bool: _bool, Any: lambda v: v}
