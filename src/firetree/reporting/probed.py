"""The network as a probe measured it before the run: what it says of each way, and what it would hold back.

A probe's hosts are the ranks that answered it, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from firetree.documents import read_text
from firetree.errors import UserError
from firetree.network import Network
from firetree.network.network import rack_of
from firetree.planning.candidates import GLOO, known
from firetree.planning.repairs import Repair, repairs
from firetree.probing.result import Probe
from firetree.reporting.faults import LinkFault
from firetree.reporting.flows import Flow, Route
from firetree.reporting.thresholds import BUSY_SHARE

_MOST_PRICED = 64
"""Hosts up to which faults are priced: larger networks take seconds."""


@dataclass(frozen=True, slots=True)
class ProbedNetwork:
    """A network, and the rank of each of its hosts."""

    network: Network
    ranks: tuple[int, ...]


def read_probe(run_dir: Path, world_size: int) -> ProbedNetwork | None:
    """The network of a run's folder; None where it was not measured.

    Raises:
        UserError: the file is no probe, or of other ranks.
    """
    path = run_dir / "network.json"
    if not path.exists():
        return None
    try:
        found = Probe.from_json(read_text(path, "probe"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    ranks = tuple(rank for rank in range(world_size) if rank not in found.unmeasured)
    if len(ranks) != found.network.size:
        raise UserError(
            f"{path} is of {found.network.size} hosts; expected {len(ranks)}, as the run has ranks"
        )
    return ProbedNetwork(found.network, ranks)


def usual_rates(
    probed: ProbedNetwork, places: Sequence[int], flows: Mapping[Route, Flow]
) -> dict[Route, float]:
    """What each way between places carries beside the busy flows of the same ports, uplinks and medium."""
    network, racks = probed.network, rack_of(probed.network)
    host_of = {places[rank]: host for host, rank in reversed([*enumerate(probed.ranks)])}
    busy = [
        (host_of[a], host_of[b])
        for (a, b), flow in flows.items()
        if flow.busy_share >= BUSY_SHARE and a in host_of and b in host_of
    ]
    crossing = [(racks[a], racks[b]) for a, b in busy]
    found = {}
    for a, b in permutations(host_of, 2):
        one, other = host_of[a], host_of[b]
        up_bytes_s, down_bytes_s = network.hosts[one].up_bytes_s, network.hosts[other].down_bytes_s
        rate = min(
            network.rate_alone(one, other),
            up_bytes_s / max(1, sum(sender == one for sender, _ in busy)),
            down_bytes_s / max(1, sum(receiver == other for _, receiver in busy)),
            network.medium_bytes_s / max(1, len(busy)),
        )
        if racks[one] != racks[other]:
            leaving = sum(racks[one] == k != into for k, into in crossing)
            coming = sum(racks[other] == k != out for out, k in crossing)
            rate = min(rate, network.racks[racks[one]].out_bytes_s / max(1, leaving))
            rate = min(rate, network.racks[racks[other]].in_bytes_s / max(1, coming))
        found[a, b] = rate
    return found


def price_s(network: Network, algorithm: str, size_bytes: float) -> float:
    """Seconds that an all-reduce takes there; an algorithm that is not known is taken for Gloo's."""
    try:
        return known(algorithm, network, size_bytes).price(network, size_bytes).time_s
    except UserError:
        return known(GLOO, network, size_bytes).price(network, size_bytes).time_s


def probed_fault(
    probed: ProbedNetwork, places: Sequence[int], algorithm: str, size_bytes: float
) -> LinkFault | None:
    """What the probe says holds sums of this size back most; None where nothing stands out."""
    network = probed.network
    if not 2 < network.size <= _MOST_PRICED or size_bytes <= 0:
        return None
    now_s = price_s(network, algorithm, size_bytes)

    def saved(repair: Repair) -> float:
        return 1 - price_s(repair.network, algorithm, size_bytes) / now_s

    found = [(saved(repair), repair) for repair in repairs(network)]
    if not found:
        return None
    share, repair = max(found, key=lambda it: round(it[0], 2))
    places_at_fault = tuple(dict.fromkeys(places[probed.ranks[host]] for host in repair.hosts))
    way = (places_at_fault[0], places_at_fault[-1]) if repair.kind == "slow_link" else None
    return LinkFault(
        repair.kind,
        places_at_fault,
        repair.rate_bytes_s,
        repair.usual_bytes_s,
        way,
        max(0.0, share),
    )
