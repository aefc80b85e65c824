"""Warnings name what is wrong with its figures, and a clean network has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firetree.commands.text.probe import as_text
from firetree.network import Host, Machine, Network, Rack, parse_network
from firetree.network.network import uniform
from firetree.probing import Probe
from firetree.probing.advice import warnings
from firetree.probing.observations import Observations

CLEAN = Network(
    tuple(
        replace(host, flops_s=1e11 * (1 - number / 50))
        for number, host in enumerate(parse_network("4 x 200mbit").hosts)
    ),
    latency_s=uniform(80e-6, 4),
)
FAST = 25e6


def with_host(number: int, **changes: float) -> Network:
    hosts = [*CLEAN.hosts]
    hosts[number] = Host(**{"up_bytes_s": FAST, "down_bytes_s": FAST, "flops_s": 1e11} | changes)  # type: ignore[arg-type]
    return replace(CLEAN, hosts=tuple(hosts))


def warned(network: Network, observed: Observations | None = None, **fields: object) -> list[str]:
    """The warnings about a network that was probed, with these fields of the Probe."""
    return warnings(Probe(network, **fields), observed or Observations())  # type: ignore[arg-type]


def echoes(late: int, usual_s: float = 80e-6, late_s: float = 2e-3) -> Observations:
    """Round trips of four hosts: to host `late` always late, to host 1 only nine times of ten."""
    times_s = {
        (a, b): [2 * late_s] * 10
        if late in (a, b)
        else [2 * usual_s, *[2 * late_s] * 9]
        if 1 in (a, b)
        else [2 * usual_s] * 10
        for a in range(4)
        for b in range(a + 1, 4)
    }
    machines = {rank: f"machine {rank}" for rank in range(4)}
    return Observations(hosts=tuple(range(4)), machine_of=machines, echoes_s=times_s)


def with_racks(out: float, into: float) -> Network:
    rest = Rack((1, 3), 2 * FAST, 2 * FAST)
    return replace(CLEAN, racks=(Rack((0, 2), out, into), rest))


def with_slow_connection() -> Network:
    table = [[float("inf")] * 4 for _ in range(4)]
    table[2][1] = 5e6
    return replace(CLEAN, pair_bytes_s=tuple(map(tuple, table)))


CASES = {
    "slow port": (
        with_host(3, up_bytes_s=6.25e6, down_bytes_s=6.25e6),
        "host 3's port is 4.0x slower than the others (50 of 200 Mbit/s): a bad cable, "
        "or a 100 Mbit/s switch port",
    ),
    "slow upload": (
        with_host(1, up_bytes_s=6.25e6),
        "host 1 sends 4.0x slower than the others (50 of 200 Mbit/s) and receives as fast",
    ),
    "slow download": (with_host(1, down_bytes_s=6.25e6), "host 1 receives 4.0x slower than"),
    "slow both ways, but not alike": (
        with_host(1, up_bytes_s=2.5e6, down_bytes_s=12.5e6),
        "host 1 sends 20 Mbit/s and receives 100 Mbit/s, where others send 200 Mbit/s and "
        "receive 200 Mbit/s: an asymmetric line",
    ),
    "slow computation": (with_host(2, flops_s=6e10), "host 2 computes 1.6x slower than the others"),
    "uplink": (
        with_racks(12.5e6, 25e6),
        "hosts 0, 2 share an uplink of 100 Mbit/s out and 200 Mbit/s in: when all use it, each "
        "has 50 of 200 Mbit/s",
    ),
    "uplink one way": (
        with_racks(12.5e6, 50e6),
        "hosts 0, 2 share an uplink of 100 Mbit/s out:",
    ),
    "connection": (
        with_slow_connection(),
        "a single connection from host 2 to host 1 carries 40 Mbit/s only",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_named_once_with_its_figures(case: str) -> None:
    network, text = CASES[case]
    [warning] = warned(network)
    assert warning.startswith(text)


def test_a_host_is_late_where_its_soonest_messages_are() -> None:
    [warning] = warned(CLEAN, echoes(late=0))
    assert warning.startswith("messages to host 0 take 2 ms at best, and 80 µs among the others")


def test_a_host_is_not_late_where_it_shares_its_machine_with_others() -> None:
    seen = echoes(late=0)
    seen.machine_of = dict.fromkeys(range(4), "one")
    assert warned(CLEAN, seen) == []


def test_a_lower_limit_is_not_called_slow() -> None:
    network = with_host(2, down_bytes_s=18.75e6)
    assert warned(network, at_least=("host 2 down",)) == []
    assert len(warned(network)) == 1
    uplink = with_racks(12.5e6, 25e6)
    [warning] = warned(uplink, at_least=("rack 0 in",))
    assert warning.startswith("hosts 0, 2 share an uplink of 100 Mbit/s out: when all use it")
    assert warned(uplink, at_least=("rack 0 out", "rack 0 in")) == []


def test_what_measurements_leave_unsure_is_not_called_slow() -> None:
    wide = {"host 1 up": (0.6 * 15e6, 1.4 * 15e6), "rack 0 out": (10e6, 15e6)}
    for network in (with_host(1, up_bytes_s=15e6), with_racks(12.5e6, 50e6)):
        [warning] = warned(network, intervals=wide)
        assert warning.startswith("measurements differ by over 15% for host 1 up, rack 0 out: ")
    [warning] = warned(with_slow_connection(), intervals={"host 2 up": (1e7, 3e7)})
    assert warning.startswith("measurements differ")


def test_hosts_are_called_by_their_names() -> None:
    seen = Observations(
        hosts=(0, 1, 2, 3),
        name_of={0: "anna", 1: "bert", 2: "carl", 4: "eva"},
        interface_of={1: "wlan0"},
        wireless=(1,),
        unreachable=[(2, 0)],
    )
    lost, cut_off, wireless = warned(CLEAN, seen, unmeasured=(4,))
    assert lost == ("eva did not answer and was not measured: is it up, and reachable from anna?")
    assert cut_off.startswith("carl cannot connect to anna: a firewall")
    assert wireless.startswith("bert is reached over Wi-Fi (wlan0)")


def test_a_clean_network_has_no_warnings() -> None:
    intervals = {"host 0 up": (0.95 * FAST, 1.05 * FAST)}
    assert warned(CLEAN, intervals=intervals) == []
    assert warned(parse_network("2 x 1gbit")) == []


def test_hosts_of_one_machine_are_not_compared_by_speed() -> None:
    network = with_host(2, flops_s=2e10)
    assert warned(replace(network, machines=(Machine((0, 1, 2, 3), 2),))) == []


def test_missing_hosts_and_wide_intervals_are_named() -> None:
    intervals = {"host 1 up": (0.5 * FAST, 1.1 * FAST), "host 1 down": (FAST, FAST)}
    missing, unsure = warned(CLEAN, intervals=intervals, unmeasured=(4,))
    assert missing.startswith("host 4 did not answer")
    assert unsure.startswith("measurements differ by over 15% for host 1 up: ")


def test_hosts_that_cannot_connect_are_named() -> None:
    [warning] = warned(CLEAN, Observations(hosts=(0, 1, 2, 3), unreachable=[(3, 1), (2, 0)]))
    assert warning.startswith("host 2 cannot connect to host 0, nor can 1 more pairs: a firewall")


def test_of_two_hosts_a_slow_direction_is_named_where_it_is_no_chance() -> None:
    network = parse_network("1 x 50mbit:200mbit + 1 x 200mbit:50mbit")
    [warning] = warned(network)
    assert warning.startswith("host 0 sends to host 1 4.0x slower than it receives from there")
    chance = {"host 0 up": (5e6, 40e6), "host 1 up": (5e6, 40e6)}
    assert all("slower" not in warning for warning in warned(network, intervals=chance))


def test_the_text_shows_rates_of_pairs_shared_links_and_warnings() -> None:
    network = with_racks(12.5e6, 12.5e6)
    limits = ("host 1 down", "rack 0 in")
    found = Probe(network, {}, (), 3.0, 10**9, ("look here",), limits, "as usual")
    lines = as_text(found).splitlines()
    rows = [line.split() for line in lines]
    assert rows[0] == ["Mbit/s", "0", "1", "2", "3", "sends", "receives", "latency"]
    assert rows[1] == ["host", "0", "-", "100", "200", "100", "200", "200", "80", "µs"]
    assert rows[2][-4:] == ["≥", "200", "80", "µs"]
    assert lines[5].startswith("≥: at least")
    assert lines[6] == "rack 0: hosts 0, 2; 100 Mbit/s out, at least 100 Mbit/s in"
    assert lines[-3:-2] == ["as usual"]
    assert lines[-2:] == ["warning: look here", "measured in 3.0 s with 1,000 MB over all links"]


def test_the_text_has_names_beside_numbers() -> None:
    hosts = tuple(replace(host, name=f"box-{n}") for n, host in enumerate(CLEAN.hosts))
    rows = [line.split() for line in as_text(Probe(replace(CLEAN, hosts=hosts))).splitlines()]
    assert rows[0][:5] == ["Mbit/s", "0", "1", "2", "3"]
    assert rows[3][:4] == ["2", "box-2", "200", "200"]
