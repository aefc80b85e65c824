"""What changes would bring: priced by hand where that can be done, ordered, and quoted as measured."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import firetree
from firetree.errors import UserError
from firetree.models.profile import Gradient, Profile
from firetree.network import Network, Rack, parse_network
from firetree.planning.changes import (
    LOST_POINTS,
    SQUEEZENET_BYTES,
    Change,
    changes_for,
    times_fewer_bytes,
)
from firetree.planning.compressions import parse_compression
from firetree.planning.scaling import CLEARLY, PricedSubset, fastest, scaling
from firetree.planning.step import compressed_step
from firetree.planning.upgrades import faster_links, mended, switched, wider_uplinks

RESULTS = Path(__file__).parents[2] / "reproduce" / "RESULTS.md"


def training(size_bytes: int, compute_s: float = 0.15) -> Profile:
    """A step of four equal gradients, all ready when the backward pass ends."""
    half_s = compute_s / 2
    gradients = tuple(Gradient(f"p{k}", size_bytes // 4, half_s, (64, 64)) for k in range(4))
    return Profile(half_s, half_s, gradients)


def found_on(text: str, profile: Profile) -> tuple[list[PricedSubset], dict[str, Change]]:
    network = parse_network(text)
    subsets = scaling("a model", profile, network, lambda _: None)
    return subsets, {it.what: it for it in changes_for(profile, network, subsets)}


SLOW = "3 x 200mbit + 1 x 50mbit"
MENDED = "repair the link of host 3 (200 Mbit/s in place of 50 Mbit/s)"


def test_a_repair_is_priced_as_the_network_without_the_fault() -> None:
    profile = training(1 << 20)
    subsets, changes = found_on(SLOW, profile)
    whole, _ = found_on("4 x 200mbit", profile)
    assert changes[MENDED].speedup == pytest.approx(whole[-1].speedup, rel=0.01)
    assert (changes[MENDED].effort, changes[MENDED].hosts) == ("a repair", (0, 1, 2, 3))
    left_out = changes["leave out host 3"]
    assert left_out.hosts == (0, 1, 2)
    assert left_out.speedup == fastest(subsets).speedup


def test_changes_are_clearly_faster_than_what_there_is_and_ordered_by_gain_for_effort() -> None:
    subsets, changes = found_on(SLOW, training(1 << 20))
    best = fastest(subsets)
    for it in changes.values():
        assert it.gain == pytest.approx(it.speedup / subsets[-1].speedup)
        assert it.speedup > CLEARLY * best.speedup or it.hosts == best.hosts
    worth = [it.gain_for_effort for it in changes.values()]
    assert worth == sorted(worth, reverse=True)


def test_an_option_that_costs_accuracy_stands_behind_one_that_brings_as_much() -> None:
    one = Change("a", "an option", (0, 1), 1.8, 1.5, 0.0)
    assert one.gain_for_effort > replace(one, effort="an option to tune").gain_for_effort


def test_one_machine_alone_is_a_change_where_it_is_fastest() -> None:
    _, changes = found_on("2 x 1mbit", training(8 << 20))
    alone = changes["one machine alone"]
    assert (alone.speedup, len(alone.hosts), alone.lost_points) == (1.0, 1, 0.0)
    assert alone.gain > 100


def test_a_batch_four_times_as_large_sends_as_much_in_four_times_the_time() -> None:
    profile = training(1 << 20)
    subsets, changes = found_on("2 x 100mbit", profile)
    waited_s = subsets[-1].plan.step_s - 0.15
    assert changes["a batch 4 times as large"].speedup == pytest.approx(
        2 * 0.6 / (0.6 + waited_s), rel=0.02
    )


def test_on_one_host_and_where_nothing_is_waited_for_nothing_is_changed() -> None:
    assert not found_on("1 x 1gbit", training(1 << 20))[1]
    assert not found_on("2 x 10gbit", training(1 << 10))[1]


def test_a_model_as_small_as_squeezenet_is_a_change_for_large_ones_only() -> None:
    for size_bytes, is_told in ((10 * SQUEEZENET_BYTES, True), (SQUEEZENET_BYTES, False)):
        _, changes = found_on("2 x 1gbit", training(size_bytes))
        assert any("SqueezeNet's 4.942 MB" in what for what in changes) == is_told


def test_so_many_times_fewer_bytes_and_no_fewer_make_machines_faster_than_one() -> None:
    profile = training(8 << 20)
    subset = found_on("2 x 100mbit", profile)[0][-1]
    times = times_fewer_bytes(profile, subset)
    assert subset.speedup < 1.0
    assert times is not None
    for factor, is_faster in ((times, True), (0.97 * times, False)):
        fewer, _ = found_on("2 x 100mbit", profile.resized(1 / factor))
        assert (fewer[-1].speedup >= 0.999 * CLEARLY) == is_faster


def test_no_fewer_bytes_help_where_latency_takes_longer_than_a_step() -> None:
    profile = training(8 << 20, compute_s=1e-3)
    subset = found_on("2 x 100mbit, 50ms", profile)[0][-1]
    assert times_fewer_bytes(profile, subset) is None


@pytest.mark.parametrize("name", ["fp16", "bf16", "int8", "topk:0.01", "powersgd:2"])
def test_a_compressed_step_takes_its_arithmetic_and_what_is_sent(name: str) -> None:
    profile, compression = training(1 << 20), parse_compression(name)
    sent = compression.compressed(profile, 4).size_bytes
    taken = compressed_step(profile, compression, 4, 1 << 40, lambda size: 1e-6 * size)
    assert compression.arithmetic_s(profile) > 0
    assert taken.exposed_s == pytest.approx(1e-6 * sent + compression.arithmetic_s(profile))


def test_buckets_stay_those_of_uncompressed_gradients() -> None:
    asked: list[int] = []

    def all_reduce_s(size_bytes: int) -> float:
        asked.append(size_bytes)
        return 0.0

    compressed_step(training(4 << 20), parse_compression("fp16"), 2, 2 << 20, all_reduce_s)
    assert asked == [1 << 20, 1 << 20]


def test_faster_links_are_those_that_can_be_bought() -> None:
    def told(text: str) -> list[str]:
        return [it.what for it in faster_links(parse_network(text))]

    assert told("2 x 100mbit") == [f"links of {it} Gbit/s" for it in ("1", "2.5", "10")]
    assert told("2 x 940mbit") == [f"links of {it} Gbit/s" for it in ("2.5", "10")]
    assert told("2 x 10gbit") == []
    for it in faster_links(parse_network("1 x 100mbit + 1 x 5gbit")):
        assert it.network.hosts[1].up_bytes_s >= 5e9 / 8


def test_a_switch_gives_hosts_links_of_their_own() -> None:
    [it] = switched(parse_network("4 x 100mbit, medium 50mbit"))
    assert it == ("a switch in place of the shared medium", parse_network("4 x 100mbit"))
    assert [*switched(parse_network("4 x 100mbit"))] == []


def test_wider_uplinks_leave_ports_as_they_are() -> None:
    network = parse_network("2 x 1gbit | 2 x 1gbit / 1gbit")
    assert [it.what for it in wider_uplinks(network)] == [
        "uplinks of 2.5 Gbit/s",
        "uplinks of 10 Gbit/s",
    ]
    thin = replace(network, racks=(network.racks[0], Rack((2, 3), 12.5e6, 12.5e6)))
    first = next(wider_uplinks(thin))
    assert first.what == "an uplink of 1 Gbit/s for hosts 2 and 3"
    assert first.network == network


def test_a_fault_is_told_once_and_in_the_direction_that_is_slow() -> None:
    assert [it.what for it in mended(parse_network(SLOW))] == [MENDED]
    upload = parse_network("3 x 200mbit + 1 x 50mbit:200mbit")
    assert [it.what for it in mended(upload)] == [
        "repair the upload of host 3 (200 Mbit/s in place of 50 Mbit/s)"
    ]
    names = tuple(replace(it, name=f"pc{k}") for k, it in enumerate(upload.hosts))
    assert "the upload of pc3" in next(mended(Network(names))).what


def test_points_lost_are_those_that_reproduce_has_measured() -> None:
    text = RESULTS.read_text(encoding="utf-8")
    bytes_part = text.split("## Accuracy against bytes")[1].split("\n## ")[0]
    batch_part = text.split("## Large batches: CIFAR-10")[1].split("\n## ")[0]
    lost = dict(
        re.findall(r"^\| ring\+(\S+) \|.*\| (-?[\d.]+) \| [\d.]+ \| [\d.]+ \|$", bytes_part, re.M)
    )
    rows = re.findall(r"^\| 256 \| none \|.*\| (-?[\d.]+) \|$", batch_part, re.M)
    assert {
        **{k: float(v) for k, v in lost.items()},
        "batch:4": float(rows[0]),
    }.items() >= LOST_POINTS.items()


def test_only_changes_that_are_known_to_cost_little_are_told() -> None:
    plan = partial(firetree.plan, "squeezenet_v1_1", "2 x 100mbit", compute_s=0.3)
    told = {it.what: it.lost_points for it in plan().changes}
    few = {it.what: it.lost_points for it in plan(max_loss=1.5).changes}
    assert few == {k: v for k, v in told.items() if v is not None and v <= 1.5}
    assert "sync.local_steps = 16" in few
    assert {
        "sync.compression = topk:0.01",
        "sync.compression = demo:32",
    } <= told.keys() - few.keys()
    with pytest.raises(UserError, match="max_loss is -1; expected points, 0 or more"):
        plan(max_loss=-1)
