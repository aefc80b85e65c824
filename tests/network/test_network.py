"""The network as data: read back as written, refused where it cannot be, and what it allows."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.errors import UserError
from firetree.network import Network, format_rate, lower_bound_s, parse_rate, placement

rates = st.floats(1e3, 1e12)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    ports = tuple(draw(st.lists(rates, min_size=1, max_size=9)))
    hosts = draw(st.permutations(range(len(ports))))
    if len(ports) == 1 or not draw(st.booleans()):
        return Network(ports)
    cuts = sorted(draw(st.sets(st.integers(1, len(ports) - 1), min_size=1)))
    bounds = zip([0, *cuts], [*cuts, len(ports)], strict=True)
    return Network(ports, tuple(tuple(hosts[a:b]) for a, b in bounds), draw(rates))


@given(networks())
def test_json_gives_back_the_same_network(network: Network) -> None:
    assert Network.from_json(network.to_json()) == network


def json_of(**changes: object) -> str:
    """A network's JSON with some fields changed."""
    racked = Network((1e6,) * 3, ((0, 1), (2,)), 5e5)
    return json.dumps({**json.loads(racked.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not a network: .*expected the JSON that Network.to_json writes"),
        ("[]", "not a network"),
        ("3", "not a network"),
        ("{}", "not a network: KeyError"),
        (json_of(version=2), "a network of version 2; expected 1"),
        (json_of(version=None), "a network of version None; expected 1"),
        (json_of(port_bytes_s=["fast"] * 3), "not a network: .*fast"),
        (json_of(port_bytes_s=7), "not a network"),
        (json_of(port_bytes_s=[]), "expected each above 0"),
        (json_of(port_bytes_s=[1, 0, 1]), "expected each above 0"),
        (json_of(port_bytes_s=[1, -5, 1]), "expected each above 0"),
        (json_of(uplink_bytes_s=-1), "expected each above 0"),
        (json_of(uplink_bytes_s=0), "expected each above 0"),
        (json_of(port_bytes_s=[1, math.nan, 1]), "expected"),
        (json_of(port_bytes_s=[10**400, 1, 1]), "not a network"),
        (json_of(racks=[[0, 1]]), "racks .*; expected two or more, none of them empty"),
        (json_of(racks=[[0, 1], [1, 2]]), "expected each host from 0 to 2 once"),
        (json_of(racks=[[0, 1], [3]]), "expected each host from 0 to 2 once"),
        (json_of(racks=[0, 1, 2]), "not a network"),
        (json_of(racks=[]), "an uplink without racks; give both"),
        (json_of(uplink_bytes_s=None), "racks without an uplink"),
    ],
)
def test_a_text_that_is_no_network_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Network.from_json(text)


RACKED = Network((1.0, 2.0, 3.0, 4.0), ((0, 2), (1, 3)), 5.0)


@pytest.mark.parametrize(
    ("network", "hosts", "expected"),
    [
        (Network((1.0, 2.0, 3.0)), 2, Network((1.0, 2.0))),
        (Network((1.0, 2.0, 3.0)), 3, Network((1.0, 2.0, 3.0))),
        (RACKED, 4, RACKED),
        (RACKED, 3, Network((1.0, 2.0, 3.0), ((0, 2), (1,)), 5.0)),
        (RACKED, 2, Network((1.0, 2.0), ((0,), (1,)), 5.0)),
        (RACKED, 1, Network((1.0,))),
        (Network((1.0,) * 4, ((2, 3), (0, 1)), 5.0), 2, Network((1.0, 1.0))),
    ],
)
def test_the_first_hosts_keep_their_ports_and_those_racks_that_still_meet(
    network: Network, hosts: int, expected: Network
) -> None:
    assert network.first(hosts) == expected


@pytest.mark.parametrize(
    ("text", "rate_bytes_s"),
    [
        ("8bit", 1.0),
        ("800kbit", 1e5),
        ("200mbit", 25e6),
        ("1gbit", 125e6),
        ("2.5gbit", 312.5e6),
        ("0.5mbit", 62_500.0),
        (" 200MBit ", 25e6),
    ],
)
def test_a_rate_in_bits_is_read_as_bytes(text: str, rate_bytes_s: float) -> None:
    assert parse_rate(text) == rate_bytes_s


@pytest.mark.parametrize(
    "text",
    ["", "200", "200mb", "0mbit", "0.0gbit", "-5mbit", "1e3kbit", "fast", "1 gbit", ".", "infbit"],
)
def test_a_text_that_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_rate(text)
    assert f"rate '{text}'; expected" in str(refusal.value)
    assert "as in 200mbit" in str(refusal.value)


@pytest.mark.parametrize(
    ("rate_bytes_s", "text"),
    [
        (25e6, "200 Mbit/s"),
        (125e6, "1 Gbit/s"),
        (312.5e6, "2.5 Gbit/s"),
        (1e3, "8 kbit/s"),
        (10.0, "80 bit/s"),
        (23.456e6, "187.6 Mbit/s"),
        (12.5e9, "100 Gbit/s"),
    ],
)
def test_a_rate_is_said_in_bits(rate_bytes_s: float, text: str) -> None:
    assert format_rate(rate_bytes_s) == text


@given(st.floats(1.0, 1e11))
def test_a_rate_that_is_said_and_read_again_is_off_by_its_rounding_only(
    rate_bytes_s: float,
) -> None:
    said = format_rate(rate_bytes_s).replace(" ", "").removesuffix("/s")
    assert parse_rate(said) == pytest.approx(rate_bytes_s, rel=5.1e-4)


@pytest.mark.parametrize("hosts", [2, 3, 4, 8, 64])
def test_on_equal_ports_the_bound_is_that_of_the_ring(hosts: int) -> None:
    bound_s = lower_bound_s(Network((25e6,) * hosts), 5e6)
    assert bound_s == pytest.approx(2 * (hosts - 1) / hosts * 5e6 / 25e6)


@pytest.mark.parametrize(
    ("network", "bound_s"),
    [
        (Network((5.0,)), 0.0),
        (Network((10.0, 10.0, 10.0, 1.0)), 100.0),  # the buffer once through the slow port
        (Network((10.0, 10.0, 10.0, 9.0)), 600 / 39),  # not slow enough to count
        (Network((10.0,) * 4, ((0, 1), (2, 3)), 4.0), 25.0),  # the buffer once through an uplink
        (Network((10.0,) * 4, ((0, 1), (2, 3)), 10.0), 15.0),  # not slow enough to count
        (Network((10.0, 10.0, 10.0, 1.0), ((0, 1), (2, 3)), 0.5), 200.0),
    ],
)
def test_the_slowest_of_ports_and_uplinks_sets_the_bound(network: Network, bound_s: float) -> None:
    assert lower_bound_s(network, 100.0) == pytest.approx(bound_s)


@given(networks(), st.floats(0.01, 1.0), st.data())
def test_the_bound_never_falls_when_a_rate_does(
    network: Network, factor: float, data: st.DataObject
) -> None:
    host = data.draw(st.integers(0, network.hosts - 1))
    ports = list(network.port_bytes_s)
    ports[host] *= factor
    slower = [dataclasses.replace(network, port_bytes_s=tuple(ports))]
    if network.uplink_bytes_s:
        slower.append(dataclasses.replace(network, uplink_bytes_s=network.uplink_bytes_s * factor))
    bound_s = lower_bound_s(network, 1e6)
    for other in slower:
        assert lower_bound_s(other, 1e6) >= bound_s * (1 - 1e-12)


@given(networks(), st.floats(1.0, 1e9), st.floats(0.1, 10.0))
def test_the_bound_scales_with_the_size(network: Network, size_bytes: float, factor: float) -> None:
    longer_s = lower_bound_s(network, factor * size_bytes)
    assert longer_s == pytest.approx(factor * lower_bound_s(network, size_bytes))


@given(networks())
def test_every_host_has_one_place(network: Network) -> None:
    assert sorted(placement(network)) == list(range(network.hosts))


@given(networks())
def test_the_hosts_of_a_rack_are_placed_together(network: Network) -> None:
    rack_of = {host: rack for rack, hosts in enumerate(network.racks) for host in hosts}
    racks = [rack_of.get(host) for host in placement(network)]
    changes = sum(a != b for a, b in itertools.pairwise(racks))
    assert changes == max(len(network.racks), 1) - 1


@given(networks())
def test_the_slowest_host_is_placed_last(network: Network) -> None:
    last = placement(network)[-1]
    assert network.port_bytes_s[last] == min(network.port_bytes_s)


def test_equal_hosts_keep_their_order() -> None:
    assert placement(Network((25e6,) * 5)) == (0, 1, 2, 3, 4)
    assert placement(Network((25e6,) * 4, ((0, 2), (1, 3)), 5e6)) == (0, 2, 1, 3)
