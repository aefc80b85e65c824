"""The options of `firetree probe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ProbeOptions:
    """Measure the network between all hosts: rates, latencies, shared links, and what to look at.

    Start it once on every host with torchrun, srun, mpirun or `firetree lab`, or here with --workers.
    """

    workers: int | None = None
    """Local processes to start, where nobody else started any."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the network as JSON to this file."""
    json: bool = False
    """Print JSON: the network, intervals and warnings."""
    html: Path | None = None
    """Write a page with a heat map of all pairs to this file."""
    brief: bool = False
    """Measure for a few seconds only, with less confidence."""
    seed: int = 0
    """Of the order in which pairs are measured."""
