"""Import paths from before the rooms had their present names, for scripts that still use them.

`from firetree.weights import load` finds what `firetree.modelfiles` has in its place. A script that
imports a former room named like a verb, as `firetree.train.recipe`, has the room in the verb's place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ROOMS = {
    "weights": "modelfiles.former",
    "weights.published": "modelfiles.former",
    "predict": "prediction",
    "train": "training",
    "probe": "probing",
    "report": "reporting",
    "sweep": "sweeps",
    "cli": "commands.main",
}

_MEMBERS = {
    "compress": {"open_model": "modelfiles.loading:load_model"},
    "export": {"as_onnx": "modelfiles.onnx_export:as_onnx"},
}
"""What a room had that is a verb by now: the verb still gives it."""


def with_members(name: str, verb: Any) -> Any:
    """The verb of that name, with the members of its former room."""
    for member, home in _MEMBERS.get(name, {}).items():
        module, _, attribute = home.partition(":")
        setattr(verb, member, getattr(import_module(f"firetree.{module}"), attribute))
    return verb


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        former = rest.partition(".")[0]
        if package != "firetree" or former not in _ROOMS:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        _, former, *rest = module.__name__.split(".")
        room = _ROOMS.get(".".join([former, *rest])) or ".".join([_ROOMS[former], *rest])
        sys.modules[module.__name__] = import_module(f"firetree.{room}")


sys.meta_path.insert(0, _Finder())
