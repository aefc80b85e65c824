"""What users write about clusters and faults: what it means, and what is refused in which words."""

from __future__ import annotations

import pytest

from firetree.errors import UserError
from firetree.lab import Fault, describe, parse_fault
from firetree.network import Network

MBIT = 1e6 / 8


def test_hosts_have_the_rate_but_for_the_slow_ones() -> None:
    network = describe(4, "200mbit", slow=["3=50mbit", "1=1gbit"])
    assert network == Network((200 * MBIT, 1000 * MBIT, 200 * MBIT, 50 * MBIT))


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
    assert (network.racks, network.uplink_bytes_s) == (expected, 100 * MBIT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hosts": 0}, "0 hosts; expected 1 or more"),
        ({"rate": "fast"}, "rate 'fast'; expected a number and kbit"),
        ({"slow": ["3"]}, "slow host '3'; expected a host and its rate"),
        ({"slow": ["3=quick"]}, "rate 'quick'"),
        ({"slow": ["x=50mbit"]}, "host 'x' in 'x=50mbit'; expected a number from 0 to 3"),
        ({"slow": ["4=50mbit"]}, "host 4 in '4=50mbit'; the hosts are 0 to 3"),
        ({"slow": ["1=50mbit", "1=5mbit"]}, "host 1 is named twice in --slow"),
        ({"uplink": "1gbit"}, "--uplink 1gbit without racks"),
        ({"racks": ["0-1", "2-3"]}, "racks without the rate of their uplinks"),
        ({"racks": ["0-3"], "uplink": "1gbit"}, "one rack alone"),
        ({"racks": ["0-1", "2-4"], "uplink": "1gbit"}, "host 4 in '2-4'; the hosts are 0 to 3"),
        ({"racks": ["0-1", "1-3"], "uplink": "1gbit"}, "host 1 is named twice in --rack"),
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
    ("text", "expected"),
    [
        ("2 link down 3", Fault(2, "link down", 3)),
        ("2.5 link up host 0", Fault(2.5, "link up", 0)),
        ("5 rate 3 50mbit", Fault(5, "rate", 3, 50 * MBIT)),
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
        ("2 rate 3 quick", "rate 'quick'"),
        ("2 kill 4", "fault '2 kill 4' on host 4; the hosts are 0 to 3"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_fault(text, 4)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
