"""Which hosts of a network should sum fastest, for each number of them; nothing is simulated here.

Hosts that could change places count once, so that a few kinds of hosts leave few subsets to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from math import ceil, log2, prod
from statistics import fmean

from firetree.network.network import Host, Network
from firetree.output import listed
from firetree.planning.bound import lower_bound_s
from firetree.planning.host_order import host_order

Subset = tuple[int, ...]
"""Hosts by their numbers in the whole network, in ascending order."""

_MOST_SUBSETS = 1 << 10
"""All are compared up to here: those of 10 hosts of which no two are alike."""

_FEW_HOSTS = 32
"""Of larger networks only the first hosts are compared, by number and in the host order."""


def estimated_sum_s(network: Network, size_bytes: float) -> float:
    """About what the best all-reduce takes, to compare subsets of one size.

    The lower bound looks at the slowest port alone; what a mean port takes for the buffer tells one slow
    host from several. A tree's longest latencies, both ways, are added.
    """
    port_s = fmean(1 / min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts)
    latency_s = 2 * ceil(log2(network.size)) * max(map(max, network.latency_s), default=0.0)
    return lower_bound_s(network, size_bytes) + size_bytes * port_s + latency_s


def fastest_subsets(network: Network, cost: Callable[[Subset], float]) -> list[Subset]:
    """For 1, 2 … hosts of a network those that cost least; of equal cost, the first in the host order.

    All subsets are compared where these are few. Else hosts are taken away one by one, each time the one
    without which the rest costs least. No subset costs more than the first hosts by number.
    """
    order = host_order(network)
    place = {host: number for number, host in enumerate(order)}

    @cache
    def rank(subset: Subset) -> tuple[float, list[int]]:
        return cost(subset), sorted(place[host] for host in subset)

    found: dict[int, Subset] = {}
    for subset in _considered(network, order, rank):
        known = found.setdefault(len(subset), subset)
        found[len(subset)] = min(known, subset, key=rank)
    return [found[count] for count in range(1, network.size + 1)]


def _considered(
    network: Network, order: Sequence[int], rank: Callable[[Subset], tuple[float, list[int]]]
) -> Iterator[Subset]:
    for count in range(1, network.size + 1):
        yield tuple(range(count))
        yield tuple(sorted(order[:count]))
    if network.size > _FEW_HOSTS:
        return
    groups = alike(network)
    if prod(len(group) + 1 for group in groups) <= _MOST_SUBSETS:
        for counts in product(*(range(len(group) + 1) for group in groups)):
            members = zip(groups, counts, strict=True)
            if any(counts):
                yield tuple(sorted(host for group, count in members for host in group[:count]))
        return
    left = tuple(range(network.size))
    while len(left) > 1:
        lasts = {max(there) for group in groups if (there := {*group} & {*left})}
        left = min((tuple(it for it in left if it != last) for last in lasts), key=rank)
        yield left


def alike(network: Network) -> list[Subset]:
    """All hosts in groups, in each of which any two could change places and nothing else would change."""
    groups: dict[Host, list[list[int]]] = {}
    for number, host in enumerate(network.hosts):
        same = groups.setdefault(replace(host, name=""), [])
        group = next((it for it in same if _may_swap(network, it[0], number)), None)
        if group is None:
            same.append([number])
        else:
            group.append(number)
    return sorted(tuple(group) for same in groups.values() for group in same)


def _may_swap(network: Network, a: int, b: int) -> bool:
    """Whether two hosts with equal ports and CPUs are equal in everything else."""
    swapped = list(range(network.size))
    swapped[a], swapped[b] = b, a
    shared = [rack.hosts for rack in network.racks] + [it.hosts for it in network.machines]
    return all((a in hosts) == (b in hosts) for hosts in shared) and all(
        table[a][c] == table[b][swapped[c]] and table[c][a] == table[swapped[c]][b]
        for table in (network.latency_s, network.pair_bytes_s)
        if table
        for c in range(network.size)
        if c != a
    )


def called(network: Network, hosts: Iterable[int]) -> str:
    """`host 3`, `hosts 1 and 3`, `hosts 4 to 7`, or their names."""
    numbers = sorted(hosts)
    if any(network.hosts[number].name for number in numbers):
        return listed([network.name(number) for number in numbers])
    if len(numbers) == 1:
        return f"host {numbers[0]}"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"hosts {numbers[0]} to {numbers[-1]}"
    return f"hosts {listed([str(number) for number in numbers])}"
