"""`firetree secret new`: a key for the ranks of a job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from firetree import output
from firetree.commands.arguments import choose, parse
from firetree.wires import new_secret


@dataclass(frozen=True)
class NewOptions:
    """Write a key with which ranks speak to each other in private, and let nobody else in.

    Copy it to every host, and start with FIRETREE_SECRET=FILE in the environment there.
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The file to write."""


def run(arguments: list[str]) -> None:
    """Run `firetree secret` with these arguments."""
    verbs = {"new": "write a new secret"}
    choose(verbs, "firetree secret", arguments, lambda _, rest: _new(rest))


def _new(arguments: list[str]) -> None:
    file = parse(NewOptions, "firetree secret new", arguments).file
    new_secret(file)
    output.show(f"wrote {file}; copy it to every host, and set FIRETREE_SECRET={file} there")
