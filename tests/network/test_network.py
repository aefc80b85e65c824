"""The network as data: read back as written, refused where it cannot be, and what it allows."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.errors import UserError
from firetree.network import (
    Host,
    Machine,
    Network,
    Rack,
    from_json,
    parse_network,
    rack_of,
    to_json,
)
from firetree.planning.bound import lower_bound_s
from firetree.planning.host_order import host_order

MBIT = 1e6 / 8

rates = st.floats(1e3, 1e12)
durations = st.just(0.0) | st.floats(1e-12, 10.0)


@st.composite
def groups(draw: st.DrawFn, size: int) -> list[tuple[int, ...]]:
    """The hosts cut into two groups or more; none for a host alone."""
    if size == 1 or not draw(st.booleans()):
        return []
    hosts = draw(st.permutations(range(size)))
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), min_size=1)))
    return [tuple(hosts[a:b]) for a, b in itertools.pairwise([0, *cuts, size])]


@st.composite
def tables(draw: st.DrawFn, size: int, values: st.SearchStrategy[float]) -> Any:
    alike = draw(values)
    entries = draw(st.sampled_from([values, st.just(alike)]))
    table = [[0.0 if a == b else draw(entries) for b in range(size)] for a in range(size)]
    return tuple(map(tuple, table)) if draw(st.booleans()) else ()


@st.composite
def networks(draw: st.DrawFn) -> Network:
    hosts = draw(
        st.lists(
            st.builds(
                Host,
                rates,
                rates,
                st.text(max_size=4).filter(str.isprintable),
                *[durations] * 3,
                st.none() | st.floats(1.0, 1e18),
            ),
            min_size=1,
            max_size=5,
        )
    )
    size = len(hosts)
    return Network(
        tuple(hosts),
        tuple(Rack(members, draw(rates), draw(rates)) for members in draw(groups(size))),
        tuple(
            Machine(members, draw(st.floats(0.5, 64)), draw(durations))
            for members in draw(groups(size))
        ),
        draw(tables(size, durations)),
        draw(tables(size, rates | st.just(math.inf))),
        draw(tables(size, st.just(0.0) | st.floats(1e-6, 0.9))),
        draw(durations),
        draw(rates | st.just(math.inf)),
    )


def alike(read: Any, written: Any) -> bool:
    """Whether both are the same but for what a figure's unit rounds."""
    if isinstance(written, tuple):
        return len(read) == len(written) and all(map(alike, read, written))
    if isinstance(written, float):
        return math.isclose(read, written, rel_tol=1e-12)
    return read == written


@given(networks())
def test_json_gives_back_the_same_network(network: Network) -> None:
    read = from_json(to_json(network))
    assert alike(dataclasses.astuple(read), dataclasses.astuple(network))


def test_json_is_written_in_units_and_a_table_of_one_value_as_that_value() -> None:
    network = parse_network("1 x 50mbit:200mbit | 1 x 1gbit / 100mbit, 80us")
    assert json.loads(to_json(network)) == {
        "version": 2,
        "hosts": [
            {"up": "50.0mbit", "down": "200.0mbit"},
            {"up": "1000.0mbit", "down": "1000.0mbit"},
        ],
        "racks": [{"hosts": [host], "out": "100.0mbit", "in": "100.0mbit"} for host in (0, 1)],
        "latency": "80.0us",
    }


def test_a_person_may_write_a_table_of_latencies_and_rates() -> None:
    network = from_json(
        json_of(
            hosts=[{"up": "1 Gbit/s", "down": "1gbit"}] * 2,
            racks=[],
            latency=[[None, "80us"], ["0.1ms", None]],
            rate=[[None, "port"], ["500mbit", None]],
        )
    )
    assert network.latency(0, 1) == pytest.approx(80e-6)
    assert network.latency(1, 0) == pytest.approx(100e-6)
    assert (network.pair_rate(0, 1), network.pair_rate(1, 0)) == (math.inf, 500 * MBIT)


PORT = {"up": "8mbit", "down": "8mbit"}


def json_of(**changes: object) -> str:
    """The JSON of three hosts in two racks, with some fields changed."""
    racks = [{"hosts": hosts, "out": "4mbit", "in": "4mbit"} for hosts in ([0, 1], [2])]
    return json.dumps({"version": 2, "hosts": [PORT] * 3, "racks": racks, **changes})


def host_of(**changes: object) -> str:
    """The JSON of two hosts, the second one with some fields changed."""
    return json_of(hosts=[PORT, {**PORT, **changes}], racks=[])


def racks_of(*members: object) -> str:
    return json_of(racks=[{"hosts": hosts, "out": "4mbit", "in": "4mbit"} for hosts in members])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "a network is not JSON: Expecting value"),
        ("[" * 100_000, "a network is not JSON"),
        ("[]", "a network: []; expected a table"),
        ("3", "a network: 3; expected a table"),
        ("{}", "a network without 'version'"),
        (json_of(version=1), "a network of version 1; expected 2"),
        (json_of(version=None), "a network of version None; expected 2"),
        (json_of(latncy="80us"), "a network has no field 'latncy'; did you mean 'latency'?"),
        ('{"version": 2}', "a network without 'hosts'"),
        (json_of(hosts=7), "hosts: 7; expected a list"),
        (json_of(hosts=[]), "a network of 0 hosts; expected 1 to 1024"),
        (json_of(hosts=[PORT] * 10_000, latency="1us"), "a network of 10000 hosts; expected 1 to"),
        (json_of(hosts=[5]), "host 0: 5; expected a table"),
        (json_of(hosts=[{"up": "8mbit"}]), "host 0 without 'down'"),
        (host_of(upp="8mbit"), "host 1 has no field 'upp'; did you mean 'up'?"),
        (host_of(up="-8mbit"), "host 1: up: rate '-8mbit'; expected a number and kbit"),
        (host_of(down="0mbit"), "host 1: down: rate '0mbit'; expected"),
        (host_of(up="8mb"), "host 1: up: rate '8mb'; expected"),
        (host_of(up=8), "host 1: up: 8; expected text with a unit"),
        (host_of(up=None), "host 1: up: None; expected text with a unit"),
        (host_of(message="5 minutes"), "host 1: message: duration '5 minutes'; expected"),
        (host_of(**{"a\nb" * 1_000: 1}), r"host 1 has no field 'a\nba\nba"),
        (host_of(up="8\nmbit" * 1_000), r"host 1: up: rate '8\nmbit8"),
        (host_of(add="8\nus" * 1_000), r"host 1: add: duration '8\nus8"),
        (host_of(name=None), "host 1: name None; expected printable text"),
        (host_of(name="\ud800"), r"host 1: name '\ud800'; expected printable text"),
        (host_of(name="a\nb"), r"host 1: name 'a\nb'; expected printable text"),
        (host_of(flops_s=math.nan), "host 1: flops_s: nan; expected a number"),
        (host_of(flops_s=0), "host 1's computation: rate 0; expected more than 0"),
        (racks_of([0, 1, 2]), "one rack; expected two or more"),
        (racks_of([0, 1], [1, 2]), "racks [[0, 1], [1, 2]]; expected each host from 0 to 2 once"),
        (racks_of([0], [2]), "racks [[0], [2]]; expected each host from 0 to 2 once"),
        (racks_of([0, 1], [3]), "expected each host from 0 to 2 once"),
        (racks_of([0, 1, 2], []), "one of the racks is empty"),
        (racks_of([0, 1], 2), "rack 1: hosts: 2; expected a list"),
        (racks_of([0, 1], ["2"]), "rack 1: host '2'; expected a number"),
        (json_of(racks=[0, 1, 2]), "rack 0: 0; expected a table"),
        (json_of(racks=[{"hosts": [0], "out": "1gbit"}]), "rack 0 without 'in'"),
        (
            json_of(machines=[{"hosts": [0, 1, 2], "cores": 0}]),
            "machine 0: 0 cores; expected more than 0",
        ),
        (
            json_of(machines=[{"hosts": [0, 1, 2], "cores": 2, "message": "-1us"}]),
            "machine 0: message: duration '-1us'",
        ),
        (json_of(machines=[{"hosts": [0], "cores": 2}]), "machines [[0]]; expected each host"),
        (json_of(latency="fast"), "latency: duration 'fast'; expected"),
        (json_of(latency=5), "latency: 5; expected a list"),
        (json_of(latency=["1us"] * 3), "latency from host 0: '1us'; expected a list"),
        (json_of(latency=[[None, "1us", None]] * 3), "no latency from host 0 to host 2"),
        (json_of(latency=[["1us"] * 3] * 2), "no latency from host 2 to host 0"),
        (json_of(rate=[["1gbit"] * 2] * 3), "no rate from host 0 to host 2"),
        (json_of(rate=[["1gbit"] * 4] * 4), "the rate table has more than 3 rows or columns"),
        (json_of(loss=0.1), "loss: 0.1; expected a list"),
        (json_of(loss="2"), "loss: share '2'; expected 0% to 100%"),
        (json_of(medium="0mbit"), "medium: rate '0mbit'; expected"),
        (json_of(jitter=[]), "jitter: []; expected text with a unit"),
        (json_of(rate=[[None, "1us", "1us"]]), "rate from host 0 to host 1: rate '1us'; expected"),
    ],
)
def test_a_text_that_is_no_network_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_json(text)
    assert message in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


ONE = Host(1.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hosts": (ONE, Host(1.0, -2.0))}, "host 1: rate -2; expected more than 0"),
        ({"hosts": (ONE, Host(math.inf, 1.0))}, "host 1: rate inf; expected"),
        ({"hosts": (ONE, Host(1.0, math.nan))}, "host 1: rate nan; expected"),
        ({"hosts": (ONE, Host(1.0, 1.0, byte_s=-1.0))}, "host 1: byte_s -1; expected 0 or more"),
        ({"racks": (Rack((0,), 1.0, 0.0), Rack((1,), 1.0, 1.0))}, "uplink of rack [0]: rate 0;"),
        ({"latency_s": ((0.0, -1.0), (1.0, 0.0))}, "latency from host 0 to host 1: -1; expected 0"),
        ({"latency_s": ((0.0, 1.0), (math.inf, 0.0))}, "latency from host 1 to host 0: inf;"),
        (
            {"pair_bytes_s": ((0.0, 0.0), (1.0, 0.0))},
            "rate from host 0 to host 1: 0; expected more than 0",
        ),
    ],
)
def test_data_that_is_no_network_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        Network(**{"hosts": (ONE, ONE), **fields})
    assert message in str(refusal.value)


FOUR = Network.of_ports((1.0, 2.0, 3.0, 4.0), ((0, 2), (1, 3)), 5.0)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ((0, 1, 2, 3), FOUR),
        ((0, 1, 2), Network.of_ports((1.0, 2.0, 3.0), ((0, 2), (1,)), 5.0)),
        ((3, 0), Network.of_ports((4.0, 1.0), ((1,), (0,)), 5.0)),
        ((2, 0), Network.of_ports((3.0, 1.0))),
        ((1,), Network.of_ports((2.0,))),
    ],
)
def test_some_hosts_keep_their_ports_and_those_racks_that_still_meet(
    chosen: tuple[int, ...], expected: Network
) -> None:
    assert FOUR.of(chosen) == expected
    if chosen == (*range(len(chosen)),):
        assert FOUR.first(len(chosen)) == expected


@given(networks(), st.data())
def test_some_hosts_keep_what_is_between_them(network: Network, data: st.DataObject) -> None:
    hosts = st.integers(0, network.size - 1)
    chosen = data.draw(st.lists(hosts, min_size=1, unique=True))
    part = network.of(chosen)
    assert part.hosts == tuple(network.hosts[host] for host in chosen)
    for a, b in itertools.permutations(range(len(chosen)), 2):
        assert part.latency(a, b) == network.latency(chosen[a], chosen[b])
        assert part.pair_rate(a, b) == network.pair_rate(chosen[a], chosen[b])
        together = rack_of(network)[chosen[a]] == rack_of(network)[chosen[b]]
        assert (rack_of(part)[a] == rack_of(part)[b]) == together


@pytest.mark.parametrize("hosts", [2, 3, 4, 8, 64])
def test_on_equal_ports_the_bound_is_that_of_the_ring(hosts: int) -> None:
    bound_s = lower_bound_s(Network.of_ports((25e6,) * hosts), 5e6)
    assert bound_s == pytest.approx(2 * (hosts - 1) / hosts * 5e6 / 25e6)


RACKS = ((0, 1), (2, 3))
EQUAL = (10.0,) * 4


@pytest.mark.parametrize(
    ("network", "bound_s"),
    [
        (Network.of_ports((5.0,)), 0.0),
        (Network.of_ports((10.0, 10.0, 10.0, 1.0)), 100.0),  # the buffer once through the port
        (Network.of_ports((10.0, 10.0, 10.0, 9.0)), 600 / 39),  # not slow enough to count
        (Network((Host(1.0, 10.0), *[Host(10.0, 10.0)] * 3)), 100.0),  # slow up only
        (Network((*[Host(10.0, 10.0)] * 3, Host(10.0, 1.0))), 100.0),  # slow down only
        (Network((Host(2.0, 10.0),) * 4), 75.0),
        (
            Network((Host(10.0, 10.0),) * 4, medium_bytes_s=10.0),
            60.0,
        ),  # it carries all six passages
        (Network((Host(10.0, 10.0),) * 4, medium_bytes_s=45.0), 15.0),
        (Network.of_ports(EQUAL, RACKS, 4.0), 25.0),  # the buffer once through an uplink
        (Network.of_ports(EQUAL, RACKS, 10.0), 15.0),  # not slow enough to count
        (Network((Host(10.0, 10.0),) * 4, (Rack((0, 1), 9.0, 9.0), Rack((2, 3), 9.0, 2.0))), 50.0),
        # Over three uplinks 2·(3 − 1) buffers travel in all.
        (Network.of_ports((10.0,) * 6, ((0, 1), (2, 3), (4, 5)), 4.0), 400 / 12),
        (Network.of_ports((10.0,) * 6, ((0, 1), (2, 3), (4, 5)), 9.0), 1000 / 60),
    ],
)
def test_the_slowest_of_ports_and_uplinks_sets_the_bound(network: Network, bound_s: float) -> None:
    assert lower_bound_s(network, 100.0) == pytest.approx(bound_s)


@given(networks(), st.floats(0.01, 1.0), st.data())
def test_the_bound_never_falls_when_a_rate_does(
    network: Network, factor: float, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, network.size - 1))
    host, racks = network.hosts[number], network.racks
    slower_up = dataclasses.replace(host, up_bytes_s=host.up_bytes_s * factor)
    slower_down = dataclasses.replace(host, down_bytes_s=host.down_bytes_s * factor)
    before, after = network.hosts[:number], network.hosts[number + 1 :]
    changes: list[dict[str, Any]] = [
        {"hosts": (*before, slower, *after)} for slower in (slower_up, slower_down)
    ]
    if racks:
        rack = dataclasses.replace(racks[0], in_bytes_s=racks[0].in_bytes_s * factor)
        changes.append({"racks": (rack, *racks[1:])})
    bound_s = lower_bound_s(network, 1e6)
    for change in changes:
        slower_s = lower_bound_s(dataclasses.replace(network, **change), 1e6)
        assert slower_s >= bound_s * (1 - 1e-12)


@given(networks(), st.floats(1.0, 1e9), st.floats(0.1, 10.0))
def test_the_bound_scales_with_the_size(network: Network, size_bytes: float, factor: float) -> None:
    longer_s = lower_bound_s(network, factor * size_bytes)
    assert longer_s == pytest.approx(factor * lower_bound_s(network, size_bytes))


@given(networks())
def test_every_host_has_one_place_with_its_rack_and_the_slowest_is_last(network: Network) -> None:
    placed = host_order(network)
    assert sorted(placed) == list(range(network.size))
    racks = [rack_of(network)[host] for host in placed]
    changes = sum(a != b for a, b in itertools.pairwise(racks))
    assert changes == max(len(network.racks), 1) - 1
    slower = [min(host.up_bytes_s, host.down_bytes_s) for host in network.hosts]
    assert slower[placed[-1]] == min(slower)


@pytest.mark.parametrize(
    ("network", "order"),
    [
        (Network.of_ports((25e6,) * 5), (0, 1, 2, 3, 4)),
        (Network.of_ports((25e6,) * 4, ((0, 2), (1, 3)), 5e6), (0, 2, 1, 3)),
        (Network((Host(1.0, 9.0), Host(9.0, 9.0), Host(9.0, 2.0))), (1, 2, 0)),
        (Network.of_ports((1.0, 9.0, 9.0, 9.0), ((0, 1), (2, 3)), 5.0), (2, 3, 1, 0)),
    ],
)
def test_hosts_keep_their_order_but_for_racks_and_slow_ones(
    network: Network, order: tuple[int, ...]
) -> None:
    assert host_order(network) == order
