"""From what was measured to the network: each figure the median of its measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

from firetree.network import Host, Machine, Network, Rack
from firetree.network.fair import fair_rates
from firetree.probing.effort import Link, Pair
from firetree.probing.estimate import interval
from firetree.probing.messages import RING_BYTES
from firetree.probing.observations import Observations
from firetree.probing.racks import RackTrial

_AS_WELL = 0.97
_ONE_CONNECTION = 0.9
"""A connection has a limit of its own below this part of what its ports and uplinks allow."""


def port_rates(observed: Observations) -> dict[int, tuple[float, float]]:
    """The highest rates at which each host sends and receives, where both were measured."""
    samples = port_samples(observed)
    return {host: (median(up), median(down)) for host, (up, down) in samples.items()}


def port_samples(observed: Observations) -> dict[int, tuple[list[float], list[float]]]:
    """The measured rates that tell how fast each host's port is, where there are some both ways.

    These are what several connections carried together, and single connections that carried as much: a
    busy CPU makes measurements slower, and nothing makes them faster than the port.
    """
    samples: dict[int, tuple[list[float], list[float]]] = {}
    for host in observed.hosts:
        up, down = observed.up.get(host, []), observed.down.get(host, [])
        if up and down:
            sent = [flows[p] for flows in observed.rounds for p in flows if p[0] == host]
            received = [flows[p] for flows in observed.rounds for p in flows if p[1] == host]
            samples[host] = _with_equals(up, sent), _with_equals(down, received)
    for trial in observed.trials:
        lone = _only_one_outside(trial, observed)
        if lone in samples:  # what the others cannot send it together, its own port does not take
            up, down = samples[lone]
            samples[lone] = (
                [*trial.in_bytes_s] if trial.limits_in else up,
                [*trial.out_bytes_s] if trial.limits_out else down,
            )
    return samples


def _only_one_outside(trial: RackTrial, observed: Observations) -> int | None:
    outside = [host for host in observed.hosts if host not in trial.hosts]
    return outside[0] if len(outside) == 1 else None


def _with_equals(samples: list[float], others: list[float]) -> list[float]:
    least = _AS_WELL * median(samples)
    return samples + [rate for rate in others if rate >= least and rate not in samples]


def conclude(
    observed: Observations, renamed: bool
) -> tuple[Network, dict[str, tuple[float, float]]]:
    """The network of the hosts that were measured, and each figure's 95 % interval.

    With `renamed`, hosts without names are called by their ranks, since others are missing between them.
    """
    ports = {rank: it for rank, it in port_rates(observed).items() if rank in observed.costs}
    ranks = [*ports]
    names = host_names(observed)
    index_of = {rank: index for index, rank in enumerate(ranks)}
    hosts = tuple(
        Host(
            *ports[rank],
            name="" if names[rank] == f"host {rank}" and not renamed else names[rank],
            message_s=observed.costs[rank].message_s,
            byte_s=observed.costs[rank].byte_s,
            add_s=observed.costs[rank].add_s,
            flops_s=observed.costs[rank].flops_s,
        )
        for rank in ranks
    )
    racks = racks_of(observed, ports)
    network = Network(
        hosts,
        tuple(
            Rack(tuple(sorted(index_of[r] for r in rack.hosts)), rack.out_bytes_s, rack.in_bytes_s)
            for rack in racks
        ),
        _machines(observed, ranks, index_of),
        _latencies(observed, ranks),
        _pair_limits(observed, ranks),
        medium_bytes_s=median(observed.medium or [float("inf")]),
    )
    return network, _intervals(observed, ports, names)


def host_names(observed: Observations) -> dict[int, str]:
    """What each host is called: by its own name if it has one, with its rank where others share it."""
    told = observed.name_of
    shared = {name for name, times in Counter(told.values()).items() if times > 1}

    def called(rank: int) -> str:
        name = told.get(rank, "")
        if name in ("", str(rank)):  # the lab's hosts without names are called by their numbers
            return f"host {rank}"
        return f"{name} (rank {rank})" if name in shared else name

    return {rank: called(rank) for rank in {*observed.hosts, *told}}


def figure_name(link: Link, observed: Observations) -> str:
    """`host 3 up` for a port's link, `rack 0 out` for an uplink's."""
    way, number = link
    of = host_names(observed)[number] if way in ("up", "down") else f"rack {number}"
    return f"{of} {way}"


def limited_trials(observed: Observations) -> list[RackTrial]:
    """Groups that carried clearly less than their ports allow, in either direction.

    A group that leaves one host out tells of that host's port.
    """
    return [
        trial
        for trial in observed.trials
        if (trial.limits_out or trial.limits_in) and _only_one_outside(trial, observed) is None
    ]


def racks_of(observed: Observations, ports: Mapping[int, tuple[float, float]]) -> list[Rack]:
    """The limited groups as racks of ranks, and one more rack for the hosts in none of them."""
    racks = [_rack(trial, ports) for trial in limited_trials(observed)]
    inside = {host for rack in racks for host in rack.hosts}
    rest = tuple(rank for rank in ports if rank not in inside)
    if not racks:
        return []
    if rest:
        racks.append(Rack(rest, sum(ports[r][0] for r in rest), sum(ports[r][1] for r in rest)))
    return sorted(racks, key=lambda rack: rack.hosts)


def _rack(trial: RackTrial, ports: Mapping[int, tuple[float, float]]) -> Rack:
    out, into = median(trial.out_bytes_s), median(trial.in_bytes_s)
    if not trial.limits_out:
        out = max(out, sum(ports[host][0] for host in trial.hosts))
    if not trial.limits_in:
        into = max(into, sum(ports[host][1] for host in trial.hosts))
    return Rack(trial.hosts, out, into)


def _machines(
    observed: Observations, ranks: list[int], index_of: Mapping[int, int]
) -> tuple[Machine, ...]:
    names = dict.fromkeys(observed.machine_of[rank] for rank in ranks)
    if len(names) == len(ranks):
        return ()
    groups = [[rank for rank in ranks if observed.machine_of[rank] == name] for name in names]
    return tuple(
        Machine(
            tuple(index_of[rank] for rank in group),
            max(observed.cores_of[rank] for rank in group),
            _beside_s(observed, group),
        )
        for group in groups
    )


def _beside_s(observed: Observations, group: list[int]) -> float:
    """Cost of a message's end to a machine's cores, beyond what its hosts have measured alone.

    It is the mean over the hosts, since chance says which of them pays when a packet arrives.
    """
    measured = [rank for rank in group if rank in observed.ring_message_s]
    if not measured:
        return 0.0
    alone_s = (
        observed.costs[r].message_s + observed.costs[r].byte_s * RING_BYTES for r in measured
    )
    return max(0.0, fmean(observed.ring_message_s[r] for r in measured) - fmean(alone_s))


def _one_way_s(observed: Observations, a: int, b: int) -> float:
    """Half the round trip of a tiny message; the median pair's where this pair has none."""
    times_s = observed.echoes_s.get(
        (min(a, b), max(a, b)), observed.echoes_s.get((max(a, b), min(a, b)))
    )
    if not times_s:
        known = [median(times_s) for times_s in observed.echoes_s.values() if times_s]
        return median(known) / 2 if known else 0.0
    return median(times_s) / 2


def _latencies(observed: Observations, ranks: list[int]) -> tuple[tuple[float, ...], ...]:
    software = {rank: observed.costs[rank].software_s for rank in ranks}
    return tuple(
        tuple(
            0.0 if a == b else _one_way_s(observed, a, b) + (software[a] + software[b]) / 2
            for b in ranks
        )
        for a in ranks
    )


def unexplained(observed: Observations) -> list[Pair]:
    """Pairs that were slower in loaded rounds than their ports and shared links explain."""
    ports = port_rates(observed)
    links, rates = links_between(observed, ports)
    parts: dict[Pair, list[float]] = {}
    for flows in observed.rounds:
        pairs = [pair for pair in flows if pair[0] in ports and pair[1] in ports]
        allowed = fair_rates([links(*pair) for pair in pairs], rates)
        for pair, most in zip(pairs, allowed, strict=True):
            parts.setdefault(pair, []).append(flows[pair] / most)
    return [pair for pair, samples in parts.items() if len(ports) > 2 and median(samples) < 0.85]


def without_shared_links(pairs: Sequence[Pair], observed: Observations) -> list[Pair]:
    """Pairs that have no link in common, picked in order."""
    links, _ = links_between(observed, port_rates(observed))
    taken, part = set[Link](), list[Pair]()
    for pair in pairs:
        if taken.isdisjoint(links(*pair)):
            taken |= set(links(*pair))
            part.append(pair)
    return part


def links_between(
    observed: Observations, ports: Mapping[int, tuple[float, float]]
) -> tuple[Callable[[int, int], list[Link]], dict[Link, float]]:
    """Which links a flow crosses, and the rate of each."""
    racks = racks_of(observed, ports)
    rack_of = {host: number for number, rack in enumerate(racks) for host in rack.hosts}
    rates: dict[Link, float] = {}
    for host, (up, down) in ports.items():
        rates["up", host], rates["down", host] = up, down
    for number, rack in enumerate(racks):
        rates["out", number], rates["in", number] = rack.out_bytes_s, rack.in_bytes_s

    def crossed(a: int, b: int) -> list[Link]:
        between = rack_of and rack_of[a] != rack_of[b]
        uplinks: list[Link] = [("out", rack_of[a]), ("in", rack_of[b])] if between else []
        return [("up", a), ("down", b), *uplinks]

    return crossed, rates


def _pair_limits(observed: Observations, ranks: list[int]) -> tuple[tuple[float, ...], ...]:
    ports = port_rates(observed)
    links, rates = links_between(observed, ports)
    limits: dict[Pair, float] = {}
    for pair, samples in observed.alone.items():
        if pair[0] in ports and pair[1] in ports:
            allowed = min(rates[link] for link in links(*pair))
            if max(samples) < _ONE_CONNECTION * allowed:  # never better, so it is no chance
                limits[pair] = median(samples)
    if not limits.keys() & {(a, b) for a in ranks for b in ranks}:
        return ()
    return tuple(
        tuple(0.0 if a == b else limits.get((a, b), float("inf")) for b in ranks) for a in ranks
    )


def _intervals(
    observed: Observations,
    ports: Mapping[int, tuple[float, float]],
    names: Mapping[int, str],
) -> dict[str, tuple[float, float]]:
    intervals: dict[str, tuple[float, float]] = {}
    samples = port_samples(observed)
    for rank in ports:
        for direction, rates in zip(("up", "down"), samples[rank], strict=True):
            intervals[f"{names[rank]} {direction}"] = interval(rates)
    if observed.medium:
        intervals["medium"] = interval(observed.medium)
    for number, rack in enumerate(racks_of(observed, ports)):
        for trial in observed.trials:
            if trial.hosts == rack.hosts:
                intervals[f"rack {number} out"] = interval(trial.out_bytes_s)
                intervals[f"rack {number} in"] = interval(trial.in_bytes_s)
    return intervals
