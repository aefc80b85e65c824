"""Whether all hosts share one medium, as on a hub or in one Wi-Fi.

There, the flows of all hosts together carry what one flow carries alone, and so do the two directions
of a pair. On a switch, each of them has the rate of its own ports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from firetree.probing.effort import LONE_REPEATS, Pair
from firetree.probing.observations import Observations

Carry = Callable[[Sequence[Pair]], dict[Pair, float]]

_MORE_TOGETHER = 1.25
"""All flows of a medium carry less than so many times the rate of one; on a switch, twice or more."""

_SLOWED = 0.75
"""A flow that shares a medium keeps less than this part of its rate."""

_MOST_BYTES_S, _MOST_ON_ONE_MACHINE_BYTES_S = 125e6, 27.5e6
"""Above these rates, it is CPUs that carry no more: Wi-Fi's hardly reach 1 Gbit/s. Hosts of one machine,
as in the lab, share its cores, and the lab's media reach 200 Mbit/s."""


def measure_medium(observed: Observations, stream: Carry) -> None:
    """Note what all hosts carry together if that is as much as one flow carries alone.

    Then each host's port is measured by a flow alone, too, with two others, as one of these may be slow.
    """
    totals = [sum(flows.values()) for flows in observed.rounds if flows]
    together = {pair: median(rates) for pair, rates in observed.pair_rates().items()}
    if not together:
        return
    pair = max(together, key=together.__getitem__)
    alone = [rate for _ in range(LONE_REPEATS) for rate in stream([pair]).values()]
    machines = {*observed.machine_of.values()}
    shares_cores = len(machines) < len(observed.machine_of)
    most_bytes_s = _MOST_ON_ONE_MACHINE_BYTES_S if shares_cores else _MOST_BYTES_S
    if not alone or not _shared(median(alone), together[pair], median(totals), most_bytes_s):
        return
    observed.medium = totals
    hosts = observed.hosts
    ring = [*zip(hosts, (*hosts[1:], hosts[0]), strict=True)]
    for ends in (*ring, *((b, a) for a, b in ring)):
        for (sender, receiver), rate in stream([ends]).items():
            for best, host in ((observed.up, sender), (observed.down, receiver)):
                best[host] = [max(rate, *best.get(host, [0.0]))]


def _shared(alone: float, beside_others: float, total: float, most_bytes_s: float) -> bool:
    """Whether these rates are those of a medium: of a flow alone, of it among others, and of all."""
    return (
        alone <= most_bytes_s
        and beside_others <= _SLOWED * alone
        and total <= _MORE_TOGETHER * alone
    )
