"""A limit on how much worse one run may be than another: `step_s+5%` fails where a step takes longer by more."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from firetree.errors import ArgumentError, nearest
from firetree.reporting.values import Diagnosis, StepParts

_FORM = re.compile(r"([a-z0-9_]+)\s*([+-])\s*(\d{1,6}(?:\.\d{1,6})?)\s*%")

_OWN = ("step_s", "p95_s", "samples_per_s", "accuracy", "busiest_rank_sent_bytes")
_FIELDS = (*_OWN, *(field.name for field in fields(StepParts)))


@dataclass(frozen=True, slots=True)
class Limit:
    """A field of a diagnosis, and by which part it may be more (`+`) or less (`-`) than before."""

    field: str
    sign: Literal["+", "-"]
    share: float


def parse_limit(text: str) -> Limit:
    """Read `step_s+5%` or `samples_per_s-5%`.

    Raises:
        ArgumentError: the text is no limit, or there is no such field.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ArgumentError(
            "fail_if",
            f"is {text!r}; expected a field, + or -, and percents, as in step_s+5%",
        )
    field, sign, number = found.groups()
    if field not in _FIELDS:
        raise ArgumentError("fail_if", f"names no field '{field}'{nearest(field, _FIELDS)}")
    return Limit(field, "+" if sign == "+" else "-", float(number) / 100)


def breach(limit: Limit, before: Diagnosis, after: Diagnosis) -> str | None:
    """Why a run is worse than the limit allows, in a line; None where it is not."""
    old, new = (_value(found, limit.field) for found in (before, after))
    grown = _grown(old, new)
    if (grown if limit.sign == "+" else -grown) <= limit.share:
        return None
    way = "more" if grown > 0 else "less"
    noise = max(found.stretches[found.judged].noise for found in (before, after))
    return (
        f"{limit.field} of {after.run} is {new:.4g}, {_percents(grown)} {way} than {old:.4g} of "
        f"{before.run}; {100 * limit.share:g}% is allowed (a step's median is sure to ±{noise:.1%})"
    )


def _value(found: Diagnosis, field: str) -> float:
    if field == "p95_s":
        return found.stretches[found.judged].p95_s
    value = getattr(found if field in _OWN else found.parts, field)
    if value is None:
        raise ArgumentError("fail_if", f"compares {field}, which {found.run} did not measure")
    return float(value)


def _grown(old: float, new: float) -> float:
    """By which part it has grown."""
    if old == new:
        return 0.0
    return (new - old) / old if old else math.copysign(math.inf, new - old)


def _percents(share: float) -> str:
    return "infinitely" if math.isinf(share) else f"{abs(share):.1%}"


def breaches(limits: Sequence[Limit], before: Diagnosis, after: Diagnosis) -> list[str]:
    """All breaches, in the limits' order."""
    return [said for limit in limits if (said := breach(limit, before, after))]
