"""What kind of network has such rates is said where it is sure, and nothing is said elsewhere."""

from __future__ import annotations

import pytest

from firetree.network import parse_network
from firetree.probing import Probe
from firetree.probing.kinds import remark
from firetree.probing.observations import Observations

CASES = {
    "3 x 94.1mbit": "all ports carry 94.1 Mbit/s: a 100 Mbit/s switch, cable or port; check with `ethtool en1`",
    "2 x 9.4mbit": "both ports carry 9.4 Mbit/s: a 10 Mbit/s switch",
    "4 x 941mbit": "all ports carry 941 Mbit/s, as 1 Gbit/s Ethernet does",
    "3 x 2.35gbit": "all ports carry 2.35 Gbit/s, as 2.5 Gbit/s Ethernet does",
    "3 x 9.4gbit": "all ports carry 9.4 Gbit/s, as 10 Gbit/s Ethernet does",
    "12 x 30mbit": "all ports carry 30 Mbit/s, less than any wired Ethernet of today: a limit",
    "3 x 200mbit": "all ports carry 200 Mbit/s, and wired Ethernet has no such rate: a limit",
    "3 x 40gbit": "",
    "3 x 941mbit + 1 x 94mbit": "",
}


@pytest.mark.parametrize("network", CASES)
def test_equal_ports_tell_the_kind_of_network(network: str) -> None:
    seen = Observations(interface_of={0: "en1", 1: "en1"})
    said = remark(Probe(parse_network(network)), seen)
    assert said.startswith(CASES[network])
    assert bool(said) == bool(CASES[network])


def test_nothing_is_said_of_loopback_nor_of_figures_that_are_not_sure() -> None:
    found = Probe(parse_network("3 x 9.4gbit"), {"host 1 up": (1e9, 1.3e9)})
    assert remark(found, Observations(interface_of={0: "en1"})) == ""
    local = Observations(interface_of={0: "lo", 1: "lo", 2: "lo"})
    assert remark(Probe(parse_network("3 x 9.4gbit")), local) == ""


def over_the_air(machine_of: dict[int, str]) -> Observations:
    times_s = [2e-3, 3e-3, 4e-3, 8e-3, 12e-3]
    return Observations(machine_of=machine_of, echoes_s={(0, 1): times_s, (0, 2): times_s})


def test_rates_and_latencies_that_vary_between_machines_are_those_of_wifi() -> None:
    found = Probe(parse_network("3 x 200mbit"), {"host 1 up": (20e6, 30e6)})
    said = remark(found, over_the_air({0: "a", 1: "b", 2: "c"}))
    assert said.startswith("rates change by up to 20% and messages take 800 µs to ")
    assert "as over Wi-Fi" in said
    assert remark(found, over_the_air({0: "a", 1: "a", 2: "a"})) == ""
