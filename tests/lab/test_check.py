"""The measurement of links: its loads show the links they are for, and labs keep their rates."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.commands.lab import as_text
from firetree.lab import Lab, LinkCheck, check, describe
from firetree.lab.check import _loads, _rounds
from firetree.lab.traffic import measure
from firetree.network import Host, Network, Rack, rack_of

RATES = st.sampled_from([1e6, 2e6, 6.25e6, 25e6, 125e6])


@st.composite
def networks(draw: st.DrawFn) -> Network:
    hosts = tuple(draw(st.lists(st.builds(Host, RATES, RATES), min_size=1, max_size=7)))
    rack_of = draw(st.lists(st.integers(0, 2), min_size=len(hosts), max_size=len(hosts)))
    groups = (tuple(h for h, r in enumerate(rack_of) if r == rack) for rack in range(3))
    racks = tuple(Rack(group, draw(RATES), draw(RATES)) for group in groups if group)
    return Network(hosts, racks if len(racks) > 1 else ())


@given(networks())
def test_a_load_crosses_the_link_that_it_is_for(network: Network) -> None:
    for load in _loads(network):
        kind, number, *_, direction = load.link.split()
        ends = network.racks[int(number)].hosts if kind == "rack" else (int(number),)
        for source, target in load.streams:
            inner, outer = (source, target) if direction in ("up", "out") else (target, source)
            assert inner in ends
            assert outer not in ends


@given(networks())
def test_a_link_has_a_load_or_a_reason(network: Network) -> None:
    loads = [*_loads(network)]
    assert len(loads) == 2 * (network.size + len(network.racks))
    assert all(bool(load.streams) != bool(load.reason) for load in loads)


@given(networks())
def test_the_rest_of_the_way_carries_what_the_link_does(network: Network) -> None:
    hosts, uplinks, rack = network.hosts, network.racks, rack_of(network)
    for load in _loads(network):
        if not load.streams:
            continue
        ways = [
            sum(hosts[sender].up_bytes_s for sender in {sender for sender, _ in load.streams}),
            sum(hosts[target].down_bytes_s for target in {target for _, target in load.streams}),
        ]
        racks = {(rack[sender], rack[target]) for sender, target in load.streams}
        if all(source != target for source, target in racks):
            ways.append(sum(uplinks[k].out_bytes_s for k in {source for source, _ in racks}))
            ways.append(sum(uplinks[k].in_bytes_s for k in {target for _, target in racks}))
        assert min(ways) >= load.rate_bytes_s * (1 - 1e-9)


@given(networks())
def test_loads_that_run_at_once_share_no_host(network: Network) -> None:
    loads = [load for load in _loads(network) if load.streams]
    rounds = [*_rounds(network, loads)]
    assert sorted(loads, key=str) == sorted(itertools.chain(*rounds), key=str)
    for together in rounds:
        hosts = [{host for stream in load.streams for host in stream} for load in together]
        assert sum(map(len, hosts)) == len(set().union(*hosts))


def test_a_fast_host_is_loaded_by_several_slower_ones() -> None:
    loads = {load.link: load for load in _loads(describe(6, "200mbit", slow=["0=600mbit"]))}
    assert loads["host 0 up"].streams == ((0, 1), (0, 2), (0, 3), (0, 4))
    assert loads["host 0 down"].streams == ((1, 0), (2, 0), (3, 0), (4, 0))


def test_a_slow_upload_is_loaded_by_itself_and_the_download_beside_it_by_the_others() -> None:
    loads = {load.link: load for load in _loads(describe(4, "200mbit", slow=["0=50mbit:400mbit"]))}
    assert loads["host 0 up"].streams == ((0, 1),)
    assert loads["host 0 down"].streams == ((1, 0), (2, 0), (3, 0))
    assert loads["host 1 down"].streams == ((2, 1), (3, 1))


def test_an_uplink_that_is_slow_in_one_direction_holds_back_that_direction_alone() -> None:
    fast, slow = Rack((0, 1), 50e6, 50e6), Rack((2, 3), 50e6, 12.5e6)
    loads = {load.link: load for load in _loads(Network((Host(25e6, 25e6),) * 4, (fast, slow)))}
    assert loads["rack 0 uplink out"].reason == "the rest of the way carries 100 Mbit/s only"
    assert loads["rack 0 uplink in"].streams
    assert loads["rack 1 uplink out"].streams
    assert loads["rack 1 uplink in"].streams


def test_a_link_that_nothing_can_fill_says_so() -> None:
    loads = {load.link: load for load in _loads(describe(3, "50mbit", slow=["0=200mbit"]))}
    assert loads["host 0 up"].reason == "the rest of the way carries 100 Mbit/s only"


def test_the_table_says_what_is_off() -> None:
    checks = [
        LinkCheck("host 0 up", 25e6, 25.1e6),
        LinkCheck("host 0 down", 25e6, 20e6),
        LinkCheck("host 1 up", 25e6, None, "the rest of the way carries 100 Mbit/s only"),
    ]
    assert [link.within for link in checks] == [True, False, None]
    assert as_text(checks).splitlines() == [
        "link              asked      measured  off by",
        "host 0 up    200 Mbit/s  200.8 Mbit/s  +0.4%",
        "host 0 down  200 Mbit/s    160 Mbit/s  -20.0%  TOO FAR",
        "host 1 up    200 Mbit/s             -  the rest of the way carries 100 Mbit/s only",
    ]


@pytest.mark.slow  # three per cent is for a machine that does nothing else
@pytest.mark.parametrize(
    "network",
    [
        describe(3, "200mbit", slow=["2=50mbit:200mbit"]),
        describe(2, "1gbit"),
        Network((Host(25e6, 25e6),) * 4, (Rack((0, 2), 18e6, 9e6), Rack((1, 3), 9e6, 18e6))),
    ],
    ids=["slow upload", "1 Gbit/s", "alternating racks"],
)
@pytest.mark.usefixtures("nothing_left")
def test_every_link_carries_its_rate_within_three_per_cent(network: Network) -> None:
    with Lab(network) as lab:
        checks = check(lab)
    print(as_text(checks))
    assert all(link.within for link in checks)


@pytest.mark.usefixtures("nothing_left")
def test_every_link_is_measured_in_both_directions() -> None:
    hosts = (Host(25e6, 25e6),) * 3 + (Host(6.25e6, 25e6),)
    network = Network(hosts, (Rack((0, 2), 18e6, 9e6), Rack((1, 3), 9e6, 18e6)))
    with Lab(network) as lab:
        checks = check(lab)
    asked = {link.link: link.asked_bytes_s for link in checks}
    for number, host in enumerate(network.hosts):
        assert asked[f"host {number} up"] == host.up_bytes_s
        assert asked[f"host {number} down"] == host.down_bytes_s
    for number, rack in enumerate(network.racks):
        assert asked[f"rack {number} uplink out"] == rack.out_bytes_s
        assert asked[f"rack {number} uplink in"] == rack.in_bytes_s
    # A busy machine slows every stream a little; another link's rate is a factor of 1.4 or more away.
    for link in checks:
        assert link.measured_bytes_s is None or (
            0.75 < link.measured_bytes_s / link.asked_bytes_s < 1.1
        )


@pytest.mark.usefixtures("nothing_left")
def test_a_link_that_is_too_fast_or_too_slow_is_seen() -> None:
    network = describe(3, "200mbit")
    [load] = [load for load in _loads(network) if load.link == "host 2 down"]
    with Lab(network) as lab:
        for actual_bytes_s in (50e6, 12.5e6):
            lab.set_rate(2, actual_bytes_s)
            [measured_bytes_s] = measure(lab, [load])
            assert LinkCheck(load.link, load.rate_bytes_s, measured_bytes_s).within is False
