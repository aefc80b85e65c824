"""What `firetree bench allreduce` is asked for, checked before anything is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from firetree import collectives
from firetree.bench.allreduce import Settings, network_around
from firetree.errors import UserError
from firetree.network import Network, parse_rate
from firetree.network.units import parse_bytes
from firetree.planning.candidates import FOREST


@dataclass(frozen=True)
class AllreduceOptions:
    """Measure all-reduces side by side, each checked, or explain one.

    Starts local processes on loopback, or takes its place among those that torchrun, srun, mpirun or
    `firetree lab` started.
    """

    algorithms: str = "binomial_tree,chain,double_binary_tree,ring"
    """Comma-separated; `all` for every one, `forest` for one found for the network once it has been
    probed. Gloo's own all-reduce is always beside them."""
    sizes: str = "1kB,64kB,1MB,5MB"
    """Comma-separated sizes of the buffer, as in 64kB or 5MB."""
    world_size: str | None = None
    """Comma-separated numbers of ranks; by default all that were started, or 2 and 4 local ones."""
    repeats: int = 7
    """Timings of each, taken in turn."""
    rate: str | None = None
    """Rate of every host's link for the lower bound, as in 1gbit; by default measured."""
    predict: bool = False
    """Probe the network first, and print the predicted time beside the measured one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the buffer lies: `cuda` compares with NCCL's own all-reduce."""
    timeout_s: float = 60.0
    """How long to wait for another rank, in seconds."""
    json: bool = False
    """Print JSON: a list of rows."""
    html: Path | None = None
    """Write a page with the plot, or with the animated explanation."""
    explain: str | None = None
    """Draw this algorithm's schedule instead: who sends which chunk to whom at each step."""
    chunks: int | None = None
    """With --explain: parts that the buffer is cut into."""


def settings_of(options: AllreduceOptions, world_size: int | None) -> Settings:
    """The settings for `world_size` ranks that were started by someone else, None for local ones.

    Raises:
        UserError: an option that cannot be; it is named, with what was expected.
    """
    names = tuple(
        name
        for text in items(options.algorithms)
        for name in (collectives.names() if text == "all" else [text])
    )
    for name in names:
        if name != FOREST:
            collectives.find(name)
    default = "2,4" if world_size is None else str(world_size)
    world_sizes = tuple(map(parse_world_size, items(options.world_size or default)))
    check_repeats(options.repeats)
    if not 0 < options.timeout_s < 1e6:
        raise UserError(f"--timeout-s {options.timeout_s}; expected seconds above 0")
    if options.chunks is not None:
        raise UserError("--chunks goes with --explain; a measurement cuts by each algorithm's rule")
    return Settings(
        algorithms=names,
        sizes_bytes=tuple(parse_size(text) for text in items(options.sizes)),
        world_sizes=world_sizes,
        repeats=options.repeats,
        device=options.device,
        timeout_s=options.timeout_s,
        network=_network(options.rate, max(world_sizes)),
        predict=options.predict,
    )


def _network(rate: str | None, hosts: int) -> Network | None:
    if rate is not None:
        return Network.of_ports((parse_rate(rate),) * hosts)
    network = network_around()
    if network and network.size < hosts:
        raise UserError(f"{hosts} ranks in a lab of {network.size} hosts; expected one a host")
    return network


def check_repeats(repeats: int) -> None:
    """Raise UserError where nothing would be measured."""
    if repeats < 1:
        raise UserError(f"--repeats {repeats}; expected 1 or more")


def items(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UserError(f"'{text}'; expected names or numbers with a comma between")
    return items


def parse_world_size(text: str) -> int:
    """A number of ranks, at least 1."""
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text):
        raise UserError(f"--world-size {text}; expected a number of ranks, as in 4 or 2,4,8")
    return int(text)


def parse_size(text: str) -> int:
    """Bytes, cut down to whole float32: `64kB`, `5MB`, `1MiB`.

    Raises:
        UserError: no such size, or below the 4 bytes of one element.
    """
    elements = parse_bytes(text) // 4
    if elements < 1:
        raise UserError(f"size '{text}'; expected at least 4B, one element")
    return 4 * elements
