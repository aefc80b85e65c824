"""Synchronous data-parallel training whose gradients travel along reduction trees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firetree import collectives, errors
    from firetree.errors import CollectiveError
    from firetree.planning.plan import Plan, load_plan
    from firetree.sync import attach

__version__ = "0.1.0"
__all__ = [
    "CollectiveError",
    "Plan",
    "__version__",
    "attach",
    "collectives",
    "errors",
    "load_plan",
]

_HOMES = {
    "CollectiveError": "errors",
    "Plan": "planning.plan",
    "attach": "sync",
    "load_plan": "planning.plan",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: the command sets it up before."""
    if name in ("collectives", "errors"):
        return import_module(f"firetree.{name}")
    if name in _HOMES:
        return getattr(import_module(f"firetree.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'firetree' has no attribute '{name}'")
