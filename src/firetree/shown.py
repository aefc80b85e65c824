"""The base of values that a notebook shows as HTML."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """Gives a value `_repr_html_` with the HTML from `firetree.commands.pages`.

    Only this import, by name, goes from the library up to the commands.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(import_module("firetree.commands.pages").fragment(self))
