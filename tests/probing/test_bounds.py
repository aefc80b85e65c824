"""A figure is a lower limit where the rest of the way could not carry more, and else it is exact."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.network import Host, Network, Rack, parse_network, rack_of
from firetree.network.fair import fair_rates
from firetree.probing.bounds import lower_limits
from firetree.probing.conclude import figure_name
from firetree.probing.effort import Link, Pair
from firetree.probing.observations import Observations
from firetree.probing.racks import RackTrial

MBIT = 1e6 / 8


def measured(network: Network) -> Observations:
    """What a probe without noise observes of a network: each host filled by all others, each rack tried."""
    racks, everyone = rack_of(network), range(network.size)
    rates: dict[Link, float] = {}
    for number, host in enumerate(network.hosts):
        rates["up", number], rates["down", number] = host.up_bytes_s, host.down_bytes_s
    for number, rack in enumerate(network.racks):
        rates["out", number], rates["in", number] = rack.out_bytes_s, rack.in_bytes_s

    def together(pairs: Sequence[Pair], only_ports: bool = False) -> float:
        def links(a: int, b: int) -> list[Link]:
            between = racks[a] != racks[b] and not only_ports
            uplinks: list[Link] = [("out", racks[a]), ("in", racks[b])] if between else []
            return [("up", a), ("down", b), *uplinks]

        return sum(fair_rates([links(*pair) for pair in pairs], rates))

    seen = Observations(hosts=tuple(everyone))
    for host in everyone:
        others = [other for other in everyone if other != host]
        seen.fans[host] = [tuple(others)]
        seen.up[host] = [together([(host, other) for other in others])]
        seen.down[host] = [together([(other, host) for other in others])]
    for rack in network.racks:
        out = [(a, b) for a in rack.hosts for b in everyone if b not in rack.hosts]
        into = [(b, a) for a, b in out]
        seen.trials.append(
            RackTrial(
                rack.hosts,
                (together(out),),
                (together(into),),
                together(out, only_ports=True),
                together(into, only_ports=True),
            )
        )
    return seen


def limits(network: Network) -> set[str]:
    seen = measured(network)
    return {figure_name(link, seen) for link in lower_limits(seen)}


THREE_RACKS = Network(
    (Host(200 * MBIT, 200 * MBIT),) * 9,
    tuple(
        Rack(hosts, out * MBIT, into * MBIT)
        for hosts, out, into in (((0, 1, 2), 300, 300), ((3, 4, 5), 40, 80), ((6, 7, 8), 150, 150))
    ),
)
CASES: dict[str, tuple[Network, set[str]]] = {
    "equal": (parse_network("4 x 200mbit"), set()),
    "a receiver that two slow ones cannot fill": (
        parse_network("1 x 100mbit:20mbit + 1 x 50mbit:200mbit + 1 x 200mbit"),
        {"host 2 down"},
    ),
    "a fast host among slow ones": (
        parse_network("1 x 1gbit + 2 x 100mbit"),
        {"host 0 up", "host 0 down"},
    ),
    "an uplink that two others cannot fill": (THREE_RACKS, {"rack 0 out", "rack 0 in"}),
    "the only way between two hosts": (parse_network("1 x 100mbit + 1 x 1gbit"), set()),
    "the only way between two racks": (
        parse_network("4 x 200mbit | 4 x 200mbit / 300mbit"),
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_lower_limits_are_those_that_the_rest_cannot_fill(case: str) -> None:
    network, expected = CASES[case]
    assert limits(network) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from([10, 20, 50, 100]), st.sampled_from([10, 20, 50, 100])),
        min_size=3,
        max_size=7,
    )
)
def test_what_is_no_lower_limit_was_measured_as_it_is(rates: list[tuple[int, int]]) -> None:
    network = Network(tuple(Host(up * MBIT, down * MBIT) for up, down in rates))
    seen, found = measured(network), limits(network)
    for number, host in enumerate(network.hosts):
        if f"host {number} up" not in found:
            assert median(seen.up[number]) == pytest.approx(host.up_bytes_s)
        if f"host {number} down" not in found:
            assert median(seen.down[number]) == pytest.approx(host.down_bytes_s)
