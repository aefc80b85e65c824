"""What users write about clusters and faults: what it means, and what is refused in which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firetree.errors import UserError
from firetree.lab import Fault, describe, load_description, parse_cpu_limits, parse_fault
from firetree.network import Host, Machine, Network, parse_network, to_json

MBIT = 1e6 / 8


def test_hosts_have_the_rate_but_for_the_slow_ones() -> None:
    network = describe(4, "200mbit", slow=["3=50mbit", "1=1gbit", "2=50mbit:400mbit"])
    rates = [(200, 200), (1000, 1000), (50, 400), (50, 50)]
    assert network == Network(tuple(Host(up * MBIT, down * MBIT) for up, down in rates))


@pytest.mark.parametrize(
    ("racks", "expected"),
    [
        (["0-3", "4-7"], ((0, 1, 2, 3), (4, 5, 6, 7))),
        (["0,2,4,6", "1,3,5,7"], ((0, 2, 4, 6), (1, 3, 5, 7))),
        (["0-1,6-7", "2-5"], ((0, 1, 6, 7), (2, 3, 4, 5))),
    ],
)
def test_racks_are_ranges_and_lists(
    racks: list[str], expected: tuple[tuple[int, ...], ...]
) -> None:
    network = describe(8, "200mbit", racks=racks, uplink="100mbit")
    assert tuple(rack.hosts for rack in network.racks) == expected
    assert {(rack.out_bytes_s, rack.in_bytes_s) for rack in network.racks} == {(100 * MBIT,) * 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hosts": 0}, "0 hosts; expected 1 to 250"),
        ({"hosts": 10**9}, "1000000000 hosts; expected 1 to 250"),
        ({"rate": "fast"}, "rate 'fast'; expected a number and kbit"),
        ({"slow": ["3"]}, "slow host '3'; expected a host and its rate"),
        ({"slow": ["3=quick"]}, "rate 'quick'"),
        ({"slow": ["3=50mbit:"]}, "rate ''"),
        ({"slow": ["3=50mbit:1gbit:1gbit"]}, "rate '1gbit:1gbit'"),
        ({"slow": ["x=50mbit"]}, "host 'x' in 'x=50mbit'; expected a number from 0 to 3"),
        ({"slow": ["4=50mbit"]}, "host 4 in '4=50mbit'; the hosts are 0 to 3"),
        ({"slow": ["1=50mbit", "1=5mbit"]}, "slow names host 1 twice"),
        ({"uplink": "1gbit"}, "uplink is 1gbit without racks"),
        ({"racks": ["0-1", "2-3"]}, "uplink is missing; expected the rate of racks' uplinks"),
        ({"racks": ["0-3"], "uplink": "1gbit"}, "one rack"),
        ({"racks": ["0-1", "2-4"], "uplink": "1gbit"}, "host 4 in '2-4'; the hosts are 0 to 3"),
        ({"racks": ["0-1", "1-3"], "uplink": "1gbit"}, "host 1 is named twice in racks"),
        ({"racks": ["0", "2-3"], "uplink": "1gbit"}, "host 1 is in no rack"),
        ({"racks": ["1-0", "2-3"], "uplink": "1gbit"}, "expected the lower host of '1-0' first"),
        ({"racks": ["0-", "2-3"], "uplink": "1gbit"}, "host '' in '0-'"),
        ({"racks": ["", "0-3"], "uplink": "1gbit"}, "host '' in ''"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        describe(**{"hosts": 4, "rate": "200mbit", **options})  # type: ignore[arg-type]
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "2 x 1gbit + 1 x 50mbit:200mbit",
        "2 x 1gbit | 1 x 8mbit / 2mbit",
        "3 x 100mbit, 10ms, jitter 1ms, loss 0.1%",
    ],
)
def test_a_whole_network_is_one_text(text: str) -> None:
    assert load_description(text) == parse_network(text)


def probed(**changes: object) -> Network:
    """A network as a probe finds it: what messages cost, and on how many cores."""
    hosts = (Host(1e6, 2e6, "north", 1e-5, 1e-9, 2e-10, 1e9), Host(2e6, 1e6, "south"))
    return replace(Network(hosts, machines=(Machine((0, 1), 2.0),)), **changes)  # type: ignore[arg-type]


def test_of_a_probed_network_the_rates_and_names_are_emulated(tmp_path: Path) -> None:
    found = probed(pair_bytes_s=((0.0, 1e6), (float("inf"), 0.0)))
    (tmp_path / "found.json").write_text(to_json(found))
    network = load_description(str(tmp_path / "found.json"))
    assert network == Network((Host(1e6, 2e6, "north"), Host(2e6, 1e6, "south")))


def test_a_slow_connection_on_fast_ports_is_refused_in_one_line(tmp_path: Path) -> None:
    found = probed(pair_bytes_s=((0.0, 1e6), (1e6, 0.0)))
    (tmp_path / "found.json").write_text(to_json(found))
    with pytest.raises(UserError) as refusal:
        load_description(str(tmp_path / "found.json"))
    words = "a connection from host 1 to host 0 with 8 Mbit/s; a lab limits ports and uplinks only"
    assert str(refusal.value).startswith(words)
    assert "\n" not in str(refusal.value)


def test_cpu_limits_are_parts_of_a_core() -> None:
    assert parse_cpu_limits(["3=50%", "0=150 %"], 4) == {3: 0.5, 0: 1.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3", "CPU limit '3'; expected a host and its share, as in 3=50%"),
        ("3=50", "CPU limit '50'; expected 1% of a core or more, as in 50%"),
        ("3=0.5%", "CPU limit '0.5%'; expected 1%"),
        ("4=50%", "host 4 in '4=50%'; the hosts are 0 to 3"),
    ],
)
def test_a_wrong_cpu_limit_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_cpu_limits([text], 4)
    assert str(refusal.value).startswith(words)
    with pytest.raises(UserError, match="cpu names host 3 twice"):
        parse_cpu_limits(["3=50%", "3=20%"], 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 link down 3", Fault(2, "link down", 3)),
        ("2.5 link up host 0", Fault(2.5, "link up", 0)),
        ("5 rate 3 50mbit", Fault(5, "rate", 3, 50 * MBIT)),
        ("9 cpu 3 50%", Fault(9, "cpu", 3, cores=0.5)),
        ("0 pause host 3", Fault(0, "pause", 3)),
        ("  7  resume   3 ", Fault(7, "resume", 3)),
        ("1 kill 1", Fault(1, "kill", 1)),
    ],
)
def test_a_fault_is_seconds_an_action_and_a_host(text: str, expected: Fault) -> None:
    assert parse_fault(text, 4) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "fault ''; expected seconds, then link down"),
        ("link down 3", "expected seconds"),
        ("-1 kill 3", "expected seconds"),
        ("2 unplug 3", "expected seconds"),
        ("2 link 3", "expected seconds"),
        ("2 kill", "expected seconds"),
        ("2 rate 3", "expected seconds"),
        ("2 kill 3 50mbit", "expected seconds"),
        ("2 cpu 3", "expected seconds"),
        ("2 cpu 3 half", "CPU limit 'half'; expected 1% of a core or more, as in 50%"),
        ("2 rate 3 quick", "rate 'quick'"),
        ("2 kill 4", "fault '2 kill 4' on host 4; the hosts are 0 to 3"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_fault(text, 4)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
