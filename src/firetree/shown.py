"""Values that a notebook shows with their table and picture."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """Gives a value `_repr_html_`, which asks `firetree.commands.pages` for the value's fragment.

    By name, as the one look upward: pages are made by commands, and no value depends on them.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(import_module("firetree.commands.pages").fragment(self))
