"""What PyTorch calls private is used in one module alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

SOURCE = Path(__file__).parents[1] / "src" / "firetree"
TREES = {
    str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")
}
PYTHONS_OWN = {"_Popen", "_replace", "_asdict", "_fields", "_exit"}
"""Of named tuples and `os`: documented, in spite of their names; and by which multiprocessing starts."""


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names() -> set[str]:
    """Private names that firetree itself gives to anything."""
    names = set()
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return set(filter(private, names))


def of_torch() -> set[str]:
    """Private names of the classes that firetree inherits from or hands tensors to."""
    kinds = Tensor, nn.Module, DistributedDataParallel, Function, Optimizer
    return {name for kind in kinds for name in dir(kind) if private(name)}


def uses(tree: ast.Module, own: set[str], theirs: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        match node:
            case ast.Import(names=aliases):
                names = [part for alias in aliases for part in alias.name.split(".")]
            case ast.ImportFrom(module=str(module), names=aliases) if "firetree" not in module:
                names = [*module.split("."), *(alias.name for alias in aliases)]
            case ast.Attribute(attr=name) if name not in own:
                names = [name]
            case ast.FunctionDef(name=name) if name in theirs:
                names = [name]
            case ast.Call(func=ast.Name(id="hasattr" | "getattr" | "setattr"), args=[_, named, *_]):
                names = [named.value] if isinstance(named, ast.Constant) else []
        for name in names:
            if (private(name) and name not in PYTHONS_OWN) or name == "distributed_c10d":
                yield f"{node.lineno}: {name}"  # type: ignore[attr-defined]


def test_only_one_module_uses_what_torch_calls_private() -> None:
    own, theirs = own_names(), of_torch()
    found = {path: [*uses(tree, own, theirs)] for path, tree in TREES.items()}
    assert found.pop("torch_private.py")
    assert {path: lines for path, lines in found.items() if lines} == {}
