"""Synchronous data-parallel training whose gradients travel along reduction trees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firetree import collectives
    from firetree.network.plan import Plan, load_plan
    from firetree.sync import attach

__version__ = "0.1.0"
__all__ = ["Plan", "__version__", "attach", "collectives", "load_plan"]

_HOMES = {"Plan": "network.plan", "load_plan": "network.plan", "attach": "sync"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: the command sets it up before."""
    if name == "collectives":
        return import_module("firetree.collectives")
    if name in _HOMES:
        return getattr(import_module(f"firetree.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'firetree' has no attribute '{name}'")
