"""Checks that all ranks can go on, and agree, before anything depends on it.

A failure on one rank, or a difference from rank 0, ends all ranks at once with the same line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch.distributed as dist

from firetree.documents import shown
from firetree.errors import RunFailedError, UserError
from firetree.peers.exchange import Json, gather_json
from firetree.peers.reach import host_name

Result = TypeVar("Result")


def together(work: Callable[[], Result], group: dist.ProcessGroup | None = None) -> Result:
    """Do `work`, and return its result once it has succeeded on all ranks; all call it together.

    Raises:
        UserError: on all ranks, the first rank's failure; it names the rank and host unless all failed
            with the same text. For any other exception, the ranks that succeeded raise RunFailedError.
    """
    result, failure = None, None
    try:
        result = work()
    except Exception as error:
        failure = error
    mine = {"host": host_name(), **_describe(failure)}
    ranks, everyone = _gather(mine, group)
    if failure is not None and not isinstance(failure, UserError):
        raise failure
    first = next((rank for rank, it in enumerate(everyone) if it["failure"] is not None), None)
    if first is None:
        return result  # type: ignore[return-value]
    text, code = everyone[first]["failure"], everyone[first]["code"]
    if any(it["failure"] != text for it in everyone):
        text = f"rank {ranks[first]} (host {everyone[first]['host']}): {text}"
    raise (UserError if code == UserError.exit_code else RunFailedError)(text) from failure


def _describe(failure: Exception | None) -> dict[str, Json]:
    if failure is None:
        return {"failure": None, "code": 0}
    if isinstance(failure, UserError):
        return {"failure": str(failure), "code": failure.exit_code}
    return {"failure": f"{type(failure).__name__}: {failure}", "code": RunFailedError.exit_code}


def agree(
    description: Mapping[str, Json], remedy: str, group: dist.ProcessGroup | None = None
) -> None:
    """Check that all ranks give the same description; all call it together.

    Args:
        description: what must be the same, the most telling fields first. Nested fields are named as in
            `optim.lr` and `classes[2]`.
        remedy: what to do about a difference: the end of the error's text.

    Raises:
        UserError: on all ranks, the first field that differs from the first rank's.
    """
    ranks, everyone = _gather({"host": host_name(), "has": description}, group)
    found = first_difference([it["has"] for it in everyone])
    if found is not None:
        field, rank, expected, other = found
        first, second = everyone[0]["host"], everyone[rank]["host"]
        raise UserError(
            f"{field} is {expected} on rank {ranks[0]} (host {first}) and {other} on rank "
            f"{ranks[rank]} (host {second}); {remedy}"
        )


def _gather(mine: Json, group: dist.ProcessGroup | None) -> tuple[list[int], list[Json]]:
    """The global ranks of the group, and what each of them says."""
    # PyTorch 2.6 does not take None for the default group.
    return dist.get_process_group_ranks(group or dist.group.WORLD), gather_json(mine, group)


def first_difference(
    descriptions: Sequence[Mapping[str, Json]],
) -> tuple[str, int, str, str] | None:
    """The first field that differs from rank 0's on some rank: its name, that rank, both values."""
    first, *others = [dict(_fields(description)) for description in descriptions]
    names = dict.fromkeys(name for fields in (first, *others) for name in fields)
    for name in names:
        for rank, fields in enumerate(others, 1):
            if _value(first, name, repr) != _value(fields, name, repr):
                return name, rank, _value(first, name, shown), _value(fields, name, shown)
    return None


def _value(fields: Mapping[str, Json], name: str, spell: Callable[[Json], str]) -> str:
    return spell(fields[name]) if name in fields else "missing"


def _fields(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """The values in a document, each by its path."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _fields(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _fields(part, f"{name}[{index}]")
    else:
        yield name, value
