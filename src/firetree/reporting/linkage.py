"""What the network costs a run: a link's fault, a heavy layer, or all links alike; and the network as measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from firetree.reporting.causes import Suspect
from firetree.reporting.faults import LinkFault, fault_of
from firetree.reporting.flows import Flow, Route, flows_of
from firetree.reporting.hosts import Hosts
from firetree.reporting.probed import ProbedNetwork, probed_fault, usual_rates
from firetree.reporting.rounds import StepTable
from firetree.reporting.thresholds import BUSY_SHARE, HEAVY_SHARE, LEAST_LAYERS, OUTLIER, TOLD_SHARE
from firetree.reporting.values import LinkReport, NetworkReport, PortReport, UplinkReport
from firetree.trace import RankTrace, TraceHeader


@dataclass(frozen=True, slots=True)
class Linkage:
    """A run's flows in one stretch and before it, what a probe found, and the fault that both tell of.

    `contradicts` says whether a way now carries much less than the probe has it.
    """

    flows: Mapping[Route, Flow]
    before: Mapping[Route, Flow]
    probed: ProbedNetwork | None
    fault: LinkFault | None
    contradicts: bool


def linkage_of(
    rounds: StepTable,
    before: StepTable | None,
    ranks: tuple[RankTrace, ...],
    hosts: Hosts,
    probed: ProbedNetwork | None,
    algorithm: str,
) -> Linkage:
    """Look for a link's fault in the flows of some rounds, and of those before them."""
    headers = [traced.header for traced in ranks]
    flows = flows_of(rounds, headers, hosts.places)
    earlier = flows_of(before, headers, hosts.places) if before else {}
    if probed is None:
        return Linkage(flows, earlier, None, fault_of(flows), False)
    usual = usual_rates(probed, hosts.places, flows)
    now = fault_of(flows, usual)
    if now:
        return Linkage(flows, earlier, probed, now, True)
    fault = probed_fault(probed, hosts.places, algorithm, headers[0].gradient_bytes)
    return Linkage(flows, earlier, probed, fault, False)


def network_suspect(
    linkage: Linkage, rounds: StepTable, header: TraceHeader, hosts: Hosts
) -> Suspect:
    """What the network costs, and what of it is to blame."""
    parts = rounds.mean_parts()
    share = parts.network_wait_s / parts.step_s if parts.step_s else 0.0
    fault = linkage.fault
    if fault:
        way = fault.way if fault.kind == "slow_link" else None
        one = Suspect(
            fault.kind,
            share * fault.saved_share,
            hosts.ranks(fault.places),
            fault.rate_bytes_s,
            fault.usual_bytes_s,
            way=(hosts.first_rank(way[0]), hosts.first_rank(way[1])) if way else None,
            may_be_either=fault.may_be_either,
        )
        if one.counts:
            return one
    layer = header.layers[0] if header.layers else None
    if (
        layer
        and layer.size_bytes >= HEAVY_SHARE * header.gradient_bytes
        and len(header.layers) >= LEAST_LAYERS
    ):
        heavy = layer.size_bytes / header.gradient_bytes
        suspect = Suspect("heavy_layer", share, (), heavy, layer=layer.name)
        if Suspect("network", share).counts:
            return suspect
    return Suspect("network", share, (), even_rate(linkage))


def even_rate(linkage: Linkage) -> float | None:
    """What busy links carry where all are alike; None where nothing was busy."""
    rates = [
        flow.rate_bytes_s * flow.shared
        for flow in linkage.flows.values()
        if flow.busy_share >= BUSY_SHARE
    ]
    return median(rates) if rates else None


def earlier_rate(linkage: Linkage) -> float | None:
    """What the way at fault carried before this stretch, if that was much more."""
    fault = linkage.fault
    if fault is None:
        return None
    ways = [fault.way] if fault.way else []
    rates = [linkage.before[way].rate_bytes_s for way in ways if way in linkage.before]
    if rates and rates[0] >= OUTLIER * fault.rate_bytes_s:
        return rates[0]
    return None


def network_report(linkage: Linkage, hosts: Hosts, since_step: int | None) -> NetworkReport:
    """The network as measured."""
    return NetworkReport(
        tuple(_links(linkage, hosts, since_step)),
        tuple(_ports(linkage.probed, hosts)) if linkage.probed else (),
        tuple(_uplinks(linkage.probed)) if linkage.probed else (),
    )


def _links(linkage: Linkage, hosts: Hosts, since_step: int | None) -> Iterator[LinkReport]:
    least_bytes = TOLD_SHARE * max((it.size_bytes for it in linkage.flows.values()), default=0.0)
    for (sender, receiver), flow in sorted(linkage.flows.items()):
        if flow.size_bytes < least_bytes:
            continue
        earlier = linkage.before.get((sender, receiver))
        changed = earlier is not None and (
            max(earlier.rate_bytes_s, flow.rate_bytes_s)
            >= OUTLIER * min(earlier.rate_bytes_s, flow.rate_bytes_s)
        )
        yield LinkReport(
            hosts.first_rank(sender),
            hosts.first_rank(receiver),
            flow.rate_bytes_s,
            flow.busy_share < BUSY_SHARE,
            "kernel",
            flow.busy_share,
            flow.rtt_s,
            flow.retransmitted,
            earlier.rate_bytes_s if changed and earlier else None,
            since_step if changed else None,
        )


def _ports(probed: ProbedNetwork, hosts: Hosts) -> Iterator[PortReport]:
    for rank, host in zip(probed.ranks, probed.network.hosts, strict=True):
        yield PortReport(rank, hosts.of(rank), host.up_bytes_s, host.down_bytes_s)


def _uplinks(probed: ProbedNetwork) -> Iterator[UplinkReport]:
    for rack in probed.network.racks:
        ranks = tuple(probed.ranks[host] for host in rack.hosts)
        yield UplinkReport(ranks, rack.out_bytes_s, rack.in_bytes_s)


def retransmitted(linkage: Linkage) -> float:
    """The part of all bytes that was sent again."""
    parts = [
        flow.retransmitted for flow in linkage.flows.values() if flow.retransmitted is not None
    ]
    return fmean(parts) if parts else 0.0
