"""Warnings name what is wrong with its figures, and a clean network has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firetree.commands.text.probe import as_text
from firetree.network import Host, Machine, Network, Rack, parse_network
from firetree.network.network import uniform
from firetree.probing import Probe
from firetree.probing.advice import warnings

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


def late(number: int) -> Network:
    table = tuple(
        tuple(0.0 if a == b else 2e-3 if number in (a, b) else 80e-6 for b in range(4))
        for a in range(4)
    )
    return replace(CLEAN, latency_s=table)


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
    "slow computation": (with_host(2, flops_s=6e10), "host 2 computes 1.6x slower than the others"),
    "latency": (late(0), "messages to host 0 take 2 ms, and 80 µs among the others"),
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
    [warning] = warnings(network, {}, ())
    assert warning.startswith(text)


def test_a_clean_network_has_no_warnings() -> None:
    intervals = {"host 0 up": (0.95 * FAST, 1.05 * FAST)}
    assert warnings(CLEAN, intervals, ()) == []
    assert warnings(parse_network("2 x 1gbit"), {}, ()) == []


def test_hosts_of_one_machine_are_not_compared_by_speed() -> None:
    network = with_host(2, flops_s=2e10)
    assert warnings(replace(network, machines=(Machine((0, 1, 2, 3), 2),)), {}, ()) == []


def test_missing_hosts_and_wide_intervals_are_named() -> None:
    intervals = {"host 1 up": (0.5 * FAST, 1.1 * FAST), "host 1 down": (FAST, FAST)}
    missing, unsure = warnings(CLEAN, intervals, (4,))
    assert missing.startswith("host 4 did not answer")
    assert unsure.startswith("measurements differ by over 15% for host 1 up: ")


def test_hosts_that_cannot_connect_are_named() -> None:
    [warning] = warnings(CLEAN, {}, (), [(3, 1), (2, 0)])
    assert warning.startswith("host 2 cannot connect to host 0, nor can 1 more pairs: a firewall")


def test_of_two_hosts_a_slow_direction_is_named_where_it_is_no_chance() -> None:
    network = parse_network("1 x 50mbit:200mbit + 1 x 200mbit:50mbit")
    [warning] = warnings(network, {}, ())
    assert warning.startswith("host 0 sends to host 1 4.0x slower than it receives from there")
    chance = {"host 0 up": (5e6, 40e6), "host 1 up": (5e6, 40e6)}
    assert all("slower" not in warning for warning in warnings(network, chance, ()))


def test_the_text_shows_rates_of_pairs_shared_links_and_warnings() -> None:
    network = with_racks(12.5e6, 12.5e6)
    lines = as_text(Probe(network, {}, (), 3.0, 10**9, ("look here",))).splitlines()
    rows = [line.split() for line in lines]
    assert rows[0] == ["Mbit/s", "0", "1", "2", "3", "latency"]
    assert rows[1] == ["host", "0", "-", "100", "200", "100", "80", "µs"]
    assert lines[5] == "rack 0: hosts 0, 2; 100 Mbit/s out, 100 Mbit/s in"
    assert lines[-2:] == ["warning: look here", "measured in 3.0 s with 1,000 MB over all links"]
