"""Synchronous data-parallel training whose gradients travel along reduction trees."""

from __future__ import annotations

from firetree import collectives
from firetree.network.plan import Plan, load_plan
from firetree.sync import attach

__version__ = "0.1.0"
__all__ = ["Plan", "__version__", "attach", "collectives", "load_plan"]
