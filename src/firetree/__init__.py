"""Synchronous data-parallel training whose gradients travel along reduction trees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firetree import bench, collectives, errors, lab
    from firetree.collectives import Schedule
    from firetree.errors import CollectiveError
    from firetree.network import Network
    from firetree.planning.forecast import plan
    from firetree.planning.plan import Plan, load_plan
    from firetree.probing import probe
    from firetree.sync import attach

__version__ = "0.1.0"
__all__ = [
    "CollectiveError",
    "Network",
    "Plan",
    "Schedule",
    "__version__",
    "attach",
    "bench",
    "collectives",
    "errors",
    "lab",
    "load_plan",
    "plan",
    "probe",
]

_MODULES = ("bench", "collectives", "errors", "lab")

_HOMES = {
    "CollectiveError": "errors",
    "Network": "network",
    "Plan": "planning.plan",
    "Schedule": "collectives",
    "attach": "sync",
    "load_plan": "planning.plan",
    "plan": "planning.forecast",
    "probe": "probing",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: the command sets it up before."""
    if name in _MODULES:
        return import_module(f"firetree.{name}")
    if name in _HOMES:
        return getattr(import_module(f"firetree.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'firetree' has no attribute '{name}'")
