"""Synchronous data-parallel training whose gradients travel along reduction trees."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from firetree.former_names import with_members

if TYPE_CHECKING:
    from firetree import accelerate as accelerate
    from firetree import bench, collectives, errors, lab
    from firetree import lightning as lightning
    from firetree import transformers as transformers
    from firetree.collectives import Schedule
    from firetree.deep_compression.compress import compress
    from firetree.deep_compression.scan import scan
    from firetree.errors import CollectiveError
    from firetree.modelfiles import Model
    from firetree.modelfiles.fire.file import decompress
    from firetree.modelfiles.inspection import inspect
    from firetree.modelfiles.onnx_export import export
    from firetree.network import Network
    from firetree.planning.forecast import plan
    from firetree.planning.plan import Plan, load_plan
    from firetree.prediction import predict
    from firetree.probing import probe
    from firetree.reporting import report
    from firetree.runs import Run, train
    from firetree.sweeps import sweep
    from firetree.sync import attach
    from firetree.sync.shared_batches import shares
    from firetree.trace import Trace
    from firetree.training import Recipe

__version__ = "0.1.0"
__all__ = [
    "CollectiveError",
    "Model",
    "Network",
    "Plan",
    "Recipe",
    "Run",
    "Schedule",
    "Trace",
    "__version__",
    "attach",
    "bench",
    "collectives",
    "compress",
    "decompress",
    "errors",
    "export",
    "inspect",
    "lab",
    "load_plan",
    "plan",
    "predict",
    "probe",
    "report",
    "scan",
    "shares",
    "sweep",
    "train",
]

_MODULES = ("bench", "collectives", "errors", "lab")
_FRAMEWORKS = ("accelerate", "lightning", "transformers")
"""Modules for those who have installed them, so that `from firetree import *` leaves them out."""

_HOMES = {
    "CollectiveError": "errors",
    "Network": "network",
    "Model": "modelfiles",
    "Plan": "planning.plan",
    "Recipe": "training",
    "Run": "runs",
    "Schedule": "collectives",
    "Trace": "trace",
    "attach": "sync",
    "compress": "deep_compression.compress",
    "decompress": "modelfiles.fire.file",
    "export": "modelfiles.onnx_export",
    "inspect": "modelfiles.inspection",
    "load_plan": "planning.plan",
    "plan": "planning.forecast",
    "probe": "probing",
    "predict": "prediction",
    "scan": "deep_compression.scan",
    "report": "reporting",
    "shares": "sync.shared_batches",
    "sweep": "sweeps",
    "train": "runs",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: the command sets it up before."""
    if name in _MODULES or name in _FRAMEWORKS:
        return import_module(f"firetree.{name}")
    if name in _HOMES:
        return with_members(name, getattr(import_module(f"firetree.{_HOMES[name]}"), name))
    raise AttributeError(f"module 'firetree' has no attribute '{name}'")


def __dir__() -> list[str]:
    """What a notebook completes."""
    return [*__all__, *_FRAMEWORKS]
