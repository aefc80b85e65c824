"""Measures the network between a model's ranks, while they wait; all call everything here together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.distributed import Store

from firetree.durable import write_durably
from firetree.errors import RunFailedError
from firetree.observing import tell_run
from firetree.peers.reach import own_network
from firetree.probing import Probe, probe_ranks
from firetree.probing.probing import announce
from firetree.progress import log
from firetree.wires.mesh import Gather

MOST_RANKS = 64
"""A probe of more takes over a minute."""

_measured: dict[tuple[int, ...], Probe] = {}
"""What this process has measured, by the ranks: their next model needs no probe."""


def on_one_host(gather: Gather) -> bool:
    """Whether the ranks reach each other without a network."""
    return len({*gather(own_network())}) == 1


def known_network(ranks: Sequence[int], gather: Gather) -> Probe | None:
    """What was measured between the ranks before, where all of them know it."""
    found = _measured.get(tuple(ranks))
    return found if all(gather(found is not None)) else None


def measure_network(store: Store, rank: int, ranks: Sequence[int], gather: Gather) -> Probe | str:
    """Probe for a few seconds; on all ranks alike why that could not be.

    Args:
        store: reaches all ranks; alike on all of them, and used for nothing else.
        rank: this one, among the ranks.
        ranks: as messages call them.
        gather: tells all ranks a value.
    """
    if len(ranks) > MOST_RANKS:
        return f"{len(ranks)} ranks are too many to measure in a run"
    failure = None
    if rank == 0:
        log(announce(len(ranks), brief=True))  # one line among a script's own, not one a stage
    try:
        found = probe_ranks(store, rank, len(ranks), brief=True, progress=lambda _: None)
        if found.unmeasured:
            failure = f"rank {ranks[found.unmeasured[0]]} did not answer the probe"
    except (RunFailedError, RuntimeError, OSError) as error:
        failure = str(error)
    if why := next(filter(None, gather(failure)), None):
        return f"the network was not measured, as {why}"
    _measured[tuple(ranks)] = found
    return found


def measure_for_run(
    store: Store, rank: int, ranks: Sequence[int], gather: Gather, run_dir: Path
) -> None:
    """Tell the run that this process writes what lies between its hosts, if there are several."""
    if on_one_host(gather):
        return
    found = known_network(ranks, gather) or measure_network(store, rank, ranks, gather)
    if rank == 0:
        tell_run("probed", found if isinstance(found, str) else found.summary)
        if isinstance(found, Probe):
            write_network(found, run_dir)


def write_network(found: Probe, run_dir: Path) -> None:
    """Write network.json, as the first rank."""
    write_durably(run_dir / "network.json", found.to_json().encode())
