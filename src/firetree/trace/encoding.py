"""A value of a trace as JSON, quickly: a rank encodes each of its steps while it trains."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from firetree.trace.steps import MOMENTS

_NOTHING = object()


def as_json(value: object, offset_s: float = 0.0) -> str:
    """A dataclass of this package as a JSON object, without the fields that have their defaults.

    Args:
        value: as a `StepTrace`.
        offset_s: what is added to its moments, to move them to another clock.
    """

    def document(part: Any) -> dict[str, Any]:
        kind: Any = type(part)
        found = {}
        for name, default, is_moment in _fields(kind):
            inner = getattr(part, name)
            if inner != default:
                found[name] = inner + offset_s if is_moment and inner is not None else inner
        return found

    return json.dumps(value, default=document, separators=(",", ":"))


@cache
def _fields(kind: type) -> tuple[tuple[str, object, bool], ...]:
    """Each field's name, its default if it has one, and whether it is a point in time."""
    return tuple(
        (it.name, _NOTHING if it.default is MISSING else it.default, it.name in MOMENTS)
        for it in fields(kind)
    )
