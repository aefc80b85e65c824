"""Which rates are those of a medium that all hosts share, and which only look like it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from firetree.network import Network, parse_network, rack_of
from firetree.network.fair import fair_rates
from firetree.probing.bounds import lower_limits
from firetree.probing.effort import Pair
from firetree.probing.medium import measure_medium
from firetree.probing.observations import Observations


def streamed(network: Network, flows: Sequence[Pair]) -> dict[Pair, float]:
    """The rates of flows at once, as TCP would share the links."""
    racks = rack_of(network)
    rates: dict[object, float] = {"medium": network.medium_bytes_s}
    for number, host in enumerate(network.hosts):
        rates["up", number], rates["down", number] = host.up_bytes_s, host.down_bytes_s
    for number, rack in enumerate(network.racks):
        rates["out", number], rates["in", number] = rack.out_bytes_s, rack.in_bytes_s
    crossed = [
        [
            "medium",
            ("up", a),
            ("down", b),
            *([("out", racks[a]), ("in", racks[b])] if racks[a] != racks[b] else []),
        ]
        for a, b in flows
    ]
    return dict(zip(flows, fair_rates(crossed, rates), strict=True))


def observed(network: Network, machines: Sequence[str] = ()) -> Observations:
    hosts = tuple(range(network.size))
    rounds = [
        streamed(network, [(a, (a + shift) % network.size) for a in hosts])
        for shift in range(1, network.size)
    ]
    names = machines or [str(host) for host in hosts]
    found = Observations(
        hosts=hosts, rounds=rounds, machine_of=dict(zip(hosts, names, strict=True))
    )
    measure_medium(found, lambda flows: streamed(network, flows))
    return found


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_all_together_carry_what_one_flow_does(size: int) -> None:
    found = observed(parse_network(f"{size} x 100mbit, medium 50mbit"))
    assert found.medium == pytest.approx([50e6 / 8] * (size - 1))
    assert found.up == found.down == {host: [pytest.approx(50e6 / 8)] for host in range(size)}


def test_a_port_slower_than_the_medium_keeps_its_rate() -> None:
    found = observed(parse_network("3 x 100mbit + 1 x 5mbit, medium 50mbit"))
    assert found.medium
    assert found.up[3] == found.down[3] == [5e6 / 8]
    assert lower_limits(found) == {(way, host) for way in ("up", "down") for host in range(3)}


@pytest.mark.parametrize(
    "text",
    [
        *(f"{size} x 100mbit" for size in (2, 3, 4, 8)),
        "1 x 10mbit:100mbit + 1 x 100mbit:10mbit",
        "3 x 100mbit + 1 x 5mbit",
        "1 x 100mbit + 3 x 5mbit",
        "2 x 100mbit | 2 x 100mbit / 20mbit",
        "1 x 100mbit | 2 x 100mbit / 10mbit",
    ],
)
def test_ports_and_uplinks_are_no_medium(text: str) -> None:
    found = observed(parse_network(text))
    assert found.medium == []
    assert found.up == {}


@pytest.mark.parametrize(("rate", "machines"), [("2gbit", "ab"), ("500mbit", "aa")])
def test_busy_cores_at_high_rates_are_no_medium(rate: str, machines: str) -> None:
    network = parse_network(f"2 x 10gbit, medium {rate}")
    assert observed(network, machines).medium == []


def test_hosts_of_which_nothing_arrived_share_nothing() -> None:
    network = parse_network("2 x 10mbit")
    found = Observations(hosts=(0, 1), rounds=[{}])
    measure_medium(found, lambda flows: streamed(network, flows))
    assert found.medium == []
