"""From observations to figures: medians, intervals, racks only where a trial shows one."""

from __future__ import annotations

import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.errors import UserError
from firetree.network import Host, Machine, Network, Rack
from firetree.probing import Probe
from firetree.probing.conclude import conclude
from firetree.probing.costs import Costs
from firetree.probing.estimate import half_width, interval
from firetree.probing.messages import RING_BYTES
from firetree.probing.observations import Observations
from firetree.probing.racks import RackTrial

COSTS = Costs(message_s=50e-6, byte_s=5e-10, add_s=3e-11, software_s=10e-6, flops_s=1e11)
RATE = 25e6


def observations(hosts: int = 4, machine: str = "") -> Observations:
    """Hosts that all send and receive 25 MB/s, 100 µs from one to another and back."""
    ranks = range(hosts)
    return Observations(
        hosts=tuple(ranks),
        machine_of={rank: machine or f"machine {rank}" for rank in ranks},
        cores_of=dict.fromkeys(ranks, 2),
        costs=dict.fromkeys(ranks, COSTS),
        echoes_s={(a, b): [100e-6] * 3 for a in ranks for b in ranks if a < b},
        rounds=[
            {(rank, (rank + shift) % hosts): RATE for rank in ranks} for shift in range(1, hosts)
        ],
        up={rank: [RATE, 0.99 * RATE, 1.01 * RATE] for rank in ranks},
        down={rank: [RATE, 0.99 * RATE, 1.01 * RATE] for rank in ranks},
    )


def trial(out: float, into: float, hosts: tuple[int, ...] = (0, 2)) -> RackTrial:
    return RackTrial(hosts, (out,) * 3, (into,) * 3, 2 * RATE, 2 * RATE)


def test_a_clean_network_has_ports_and_latencies_only() -> None:
    network, intervals = conclude(observations(), renamed=False)
    assert network.hosts == (Host(RATE, RATE, "", 50e-6, 5e-10, 3e-11, 1e11),) * 4
    assert (network.racks, network.machines, network.pair_bytes_s) == ((), (), ())
    assert network.latency(0, 3) == pytest.approx(60e-6)
    assert all(low <= RATE <= high for low, high in intervals.values())


def test_hosts_of_one_machine_share_its_cores() -> None:
    network, _ = conclude(observations(3, "one"), renamed=False)
    assert network.machines == (Machine((0, 1, 2), 2.0),)


def test_what_messages_cost_more_where_all_send_is_the_machines() -> None:
    seen = observations(3, "one")
    seen.ring_message_s = {0: 80e-6, 2: 100e-6}  # host 1 did not answer
    network, _ = conclude(seen, renamed=False)
    alone_s = COSTS.message_s + RING_BYTES * COSTS.byte_s
    assert network.machines[0].message_s == pytest.approx(90e-6 - alone_s)


@pytest.mark.parametrize(
    ("out", "into", "racks"),
    [
        (30e6, 20e6, [((0, 2), 30e6, 20e6), ((1, 3), 2 * RATE, 2 * RATE)]),
        (30e6, 49e6, [((0, 2), 30e6, 2 * RATE), ((1, 3), 2 * RATE, 2 * RATE)]),
        (48e6, 47e6, []),
    ],
    ids=["both ways", "one way", "no limit"],
)
def test_a_rack_is_what_a_trial_shows(
    out: float, into: float, racks: list[tuple[tuple[int, ...], float, float]]
) -> None:
    seen = observations()
    seen.trials = [trial(out, into)]
    network, _ = conclude(seen, renamed=False)
    assert [(rack.hosts, rack.out_bytes_s, rack.in_bytes_s) for rack in network.racks] == racks


def test_a_group_that_leaves_one_host_out_tells_of_that_hosts_port() -> None:
    seen = observations()
    seen.trials = [RackTrial((1, 2, 3), (5e6,) * 3, (RATE,) * 3, RATE, RATE)]
    network, intervals = conclude(seen, renamed=False)
    assert not network.racks
    assert (network.hosts[0].up_bytes_s, network.hosts[0].down_bytes_s) == (RATE, 5e6)
    assert intervals["host 0 down"] == (5e6, 5e6)


def test_what_a_lost_host_measured_is_forgotten_and_the_others_keep_their_ranks() -> None:
    seen = observations()
    seen.forget({1})
    network, intervals = conclude(seen, renamed=True)
    assert [host.name for host in network.hosts] == ["host 0", "host 2", "host 3"]
    assert not any(name.startswith("host 1 ") for name in intervals)


def test_hosts_have_the_names_that_they_tell() -> None:
    seen = observations()
    seen.name_of = {0: "anna", 1: "box", 2: "box", 3: "3"}
    network, intervals = conclude(seen, renamed=False)
    assert [network.name(host) for host in range(4)] == [
        "anna",
        "box (rank 1)",
        "box (rank 2)",
        "host 3",
    ]
    assert {"anna up", "box (rank 2) down", "host 3 up"} <= intervals.keys()


def test_a_connection_has_a_limit_of_its_own_where_it_never_did_better() -> None:
    seen = observations()
    seen.alone = {(0, 1): [5e6, 6e6, 5.5e6], (1, 0): [10e6, 24e6, 11e6]}
    network, _ = conclude(seen, renamed=False)
    assert network.pair_rate(0, 1) == 5.5e6
    assert network.pair_rate(1, 0) == network.pair_rate(2, 3) == float("inf")


def test_a_disturbed_port_is_corrected_by_single_connections_that_did_better() -> None:
    seen = observations()
    seen.up[0] = [0.9 * RATE]
    network, _ = conclude(seen, renamed=False)
    assert network.hosts[0].up_bytes_s == RATE


@given(st.lists(st.floats(1, 100), min_size=1, max_size=40))
def test_an_interval_holds_the_median(samples: list[float]) -> None:
    low, high = interval(samples)
    assert low <= median(samples) <= high
    assert half_width(samples) >= 0


@pytest.mark.parametrize("count", [3, 5, 8, 12, 30])
def test_most_intervals_hold_the_true_median(count: int) -> None:
    dice = random.Random(0)
    held = 0
    for _ in range(400):
        low, high = interval([dice.gauss(100, 3) for _ in range(count)])
        held += low <= 100 <= high
    assert held >= 360


def test_a_probe_is_read_back_as_written() -> None:
    network = Network(
        (Host(1e6, 2e6), Host(3e6, 3e6), Host(4e6, 4e6)),
        (Rack((0, 1), 1e6, 1e6), Rack((2,), 4e6, 4e6)),
    )
    found = Probe(network, {"host 0 up": (0.9e6, 1.1e6)}, (3,), 1.5, 1000, ("host 3 …",))
    assert Probe.from_json(found.to_json()) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}', '{"version": 1}'])
def test_what_is_no_probe_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        Probe.from_json(text)
