"""The examples of public docstrings give what they show."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ranks import run_on_ranks
from torch.nn.parallel import DistributedDataParallel

import firetree

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    values: dict[str, Any] = {name: getattr(firetree, name) for name in firetree.__all__}
    for name in [name for name, value in values.items() if isinstance(value, ModuleType)]:
        module = values.pop(name)
        parts = getattr(module, "__all__", ())
        values |= {f"{name}.{part}": getattr(module, part) for part in parts}
    found = [test for name, value in values.items() for test in finder.find(value, name)]
    return {test.name: test for test in found if test.examples}


TAKES_LONG = {"sweep": pytest.mark.slow}
NAMES = sorted({*examples()} - {"attach"})


@pytest.mark.parametrize("name", [pytest.param(it, marks=TAKES_LONG.get(it, ())) for it in NAMES])
def test_an_example_gives_what_it_shows(name: str, here: Path) -> None:
    assert not failures(name, {"firetree": firetree, "torch": torch})


def test_the_example_of_attach_runs_on_ranks() -> None:
    assert run_on_ranks(2, attached) == ["", ""]


def attached() -> str:
    net = torch.nn.Linear(8, 2)
    names = {"firetree": firetree, "DistributedDataParallel": DistributedDataParallel, "net": net}
    return failures("attach", names)


def failures(name: str, names: dict[str, object]) -> str:
    """What an example gave otherwise than shown; nothing where all is as shown."""
    test = examples()[name]
    test.globs = dict(names)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    return "".join(said)
