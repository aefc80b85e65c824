"""Every cause on a made-up cluster is told by its kind and its culprit; healthy clusters are told healthy."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from made import MBIT, Amount, Cluster

from firetree.network import Host, Network, Rack
from firetree.probing.result import Probe
from firetree.reporting import Diagnosis, report


def diagnosis(tmp_path: Path, **fields: object) -> Diagnosis:
    return report(Cluster(**fields).write(tmp_path / "run"))  # type: ignore[arg-type]


def only(rank: int, value: float, usual: float) -> Amount:
    return lambda at, step: value if at == rank else usual


def every(steps: int, value: float, rank: int | None = None) -> Amount:
    return lambda at, step: value if step % steps == 0 and rank in (None, at) else 0.0


CAUSES: dict[str, tuple[dict[str, object], str, tuple[int, ...]]] = {
    "healthy": ({}, "compute", ()),
    "all data": ({"data": 0.2}, "data", ()),
    "one rank's data": ({"data": only(2, 0.2, 0.002)}, "data", (2,)),
    "one slow host": ({"backward": only(1, 0.12, 0.04)}, "slow_host", (1,)),
    "one starved host": (
        {"backward": only(3, 0.12, 0.04), "starved": only(3, 0.08, 0.001)},
        "starved",
        (3,),
    ),
    "one starved host beside one that is a little": (
        {
            "backward": only(3, 0.12, 0.04),
            "starved": lambda rank, step: (0.004, 0.001, 0.001, 0.08)[rank],
        },
        "starved",
        (3,),
    ),
    "all starved": ({"backward": 0.1, "starved": 0.08}, "starved", ()),
    "all starved for half of what they want": ({"backward": 0.1, "starved": 0.06}, "starved", ()),
    "all starved a little": ({"backward": 0.1, "starved": 0.03}, "compute", ()),
    "evaluation on all": ({"evaluation": every(5, 0.5)}, "evaluation", ()),
    "evaluation on one": ({"evaluation": every(5, 0.5, rank=0)}, "evaluation", (0,)),
    "saving on one": ({"saving": every(10, 1.0, rank=0)}, "saving", (0,)),
    "saving on all": ({"saving": every(10, 1.0)}, "saving", ()),
    "the script's own work": ({"other": 0.1}, "other", ()),
    "slow links": ({"gradient_bytes": 4_000_000}, "network", ()),
    "a heavy layer": (
        {
            "gradient_bytes": 4_000_000,
            "layers": (("fc6", 3_000_000), *((f"conv{k}", 100_000) for k in range(10))),
        },
        "heavy_layer",
        (),
    ),
    "a slow layer": (
        {"layer_times": (("loop", 0.03), *((f"conv{k}", 0.001) for k in range(9)))},
        "heavy_layer",
        (),
    ),
}


@pytest.mark.parametrize("what", CAUSES)
def test_a_cause_between_sums_is_told_with_its_ranks(tmp_path: Path, what: str) -> None:
    fields, kind, ranks = CAUSES[what]
    verdict = diagnosis(tmp_path, **fields).verdict
    assert (verdict.kind, verdict.culprit.ranks) == (kind, ranks), verdict.sentence


def slow_ways(*slow: tuple[int, int], rate: float = 20 * MBIT):  # type: ignore[no-untyped-def]
    return lambda a, b, step: rate if (a, b) in slow else 200 * MBIT


RING = [(rank, (rank - 1) % 4) for rank in range(4)]
LARGE, SMALL = 1_000_000.0, 50_000.0
"""Bytes of a further flow in each step: beside 1.5 MB in the ring's flows, rates of small ones say nothing."""
NEAR, FAR = 0.01, 0.15
"""Seconds in the queue before a host's own port, and before another one's at 20 Mbit/s."""

HIDDEN = "uplink that all of the ring crosses, as small flows within a rack do not wait"

LINKS = {
    "port": (slow_ways((1, 0), (2, 1)), {}, "slow_port", (1,)),
    "uplink": (slow_ways((2, 1), (0, 3)), {}, "thin_uplink", (2, 3)),
    HIDDEN: (
        lambda a, b, step: (20 if (a + b) % 2 else 200) * MBIT,
        {
            "more_flows": [(2, 0, SMALL), (3, 0, SMALL)],
            "queue_s": lambda a, b: FAR if (a + b) % 2 else 0.0,
        },
        "thin_uplink",
        (0, 2),
    ),
    "upload, as its other flow is slow too": (
        lambda a, b, step: 20 * MBIT if a == 3 else 200 * MBIT,
        {"more_flows": [(a, 0, LARGE) for a in (1, 2, 3)]},
        "slow_upload",
        (3,),
    ),
    "download, as the sender is fast elsewhere": (
        slow_ways((3, 2)),
        {"more_flows": [(3, 0, LARGE)]},
        "slow_download",
        (2,),
    ),
    "upload, as the receiver gets fast from elsewhere": (
        slow_ways((3, 2)),
        {"more_flows": [(0, 2, LARGE)]},
        "slow_upload",
        (3,),
    ),
    "way, as both are fast elsewhere": (
        slow_ways((3, 2)),
        {"more_flows": [(3, 0, LARGE), (0, 2, LARGE)]},
        "slow_link",
        (2, 3),
    ),
    "download, as the sender's small flows do not wait": (
        slow_ways((3, 2)),
        {
            "more_flows": [(3, 0, SMALL)],
            "queue_s": lambda a, b: FAR if (a, b) == (3, 2) else 0.0,
        },
        "slow_download",
        (2,),
    ),
    "upload, as the receiver's small flows do not wait": (
        slow_ways((3, 2)),
        {
            "more_flows": [(0, 2, SMALL)],
            "queue_s": lambda a, b: FAR if (a, b) == (3, 2) else 0.0,
        },
        "slow_upload",
        (3,),
    ),
    "upload, by the short queue": (
        slow_ways((3, 2)),
        {"queue_s": lambda a, b: NEAR},
        "slow_upload",
        (3,),
    ),
    "download, by a queue that fills and empties": (
        slow_ways((3, 2)),
        {"queue_s": lambda a, b: NEAR, "swing": 0.6},
        "slow_download",
        (2,),
    ),
    "download, by the long queue": (
        slow_ways((3, 2)),
        {"queue_s": lambda a, b: FAR if (a, b) == (3, 2) else NEAR},
        "slow_download",
        (2,),
    ),
}


@pytest.mark.parametrize("what", LINKS)
def test_a_slow_link_is_told_by_what_the_kernels_say(tmp_path: Path, what: str) -> None:
    rates, fields, kind, ranks = LINKS[what]
    found = diagnosis(tmp_path, rates=rates, gradient_bytes=1_000_000, **fields)
    verdict = found.verdict
    assert (verdict.kind, verdict.culprit.ranks) == (kind, ranks), verdict.sentence
    if what == HIDDEN:
        assert verdict.culprit.figure == pytest.approx(40 * MBIT, rel=0.01)
        assert verdict.culprit.usual is None
        return
    fast = 400 if kind == "thin_uplink" else 200
    # Where a port has two large flows, each may have slowed the other.
    most = 34 if "more_flows" in fields else 20.1
    assert verdict.culprit.figure is not None
    assert 19.9 <= verdict.culprit.figure / MBIT <= most
    assert verdict.culprit.usual == pytest.approx(fast * MBIT, rel=0.4)
    assert "Mbit/s" in verdict.sentence
    if "more_flows" not in fields:
        assert verdict.gain is not None
        assert verdict.gain.speedup > 2


def test_a_way_of_which_either_end_may_be_slow_is_told_as_such(tmp_path: Path) -> None:
    between = 0.045  # s of queue: too long for its own port, too short for a full switch
    found = diagnosis(
        tmp_path, rates=slow_ways((3, 2)), gradient_bytes=1_000_000, queue_s=lambda a, b: between
    )
    verdict = found.verdict
    assert (verdict.kind, verdict.culprit.link) == ("slow_link", (3, 2))
    assert "by host dog's upload or host cat's download" in verdict.sentence
    assert verdict.command == "firetree probe"


def add_probe(run_dir: Path, network: Network) -> None:
    (run_dir / "network.json").write_text(Probe(network).to_json())


def ports(*slow: tuple[int, float, float]) -> list[Host]:
    hosts = [Host(200 * MBIT, 200 * MBIT)] * 4
    for rank, up, down in slow:
        hosts[rank] = Host(up * MBIT, down * MBIT)
    return hosts


PROBED = {
    "upload": (ports((3, 20, 200)), (), slow_ways((3, 2)), "slow_upload", (3,)),
    "download": (ports((2, 200, 20)), (), slow_ways((3, 2)), "slow_download", (2,)),
    "port": (ports((2, 20, 20)), (), slow_ways((3, 2), (2, 1)), "slow_port", (2,)),
    "uplink": (
        ports(),
        (Rack((0, 1), 20 * MBIT, 20 * MBIT), Rack((2, 3), 20 * MBIT, 20 * MBIT)),
        slow_ways((2, 1), (0, 3)),
        "thin_uplink",
        (2, 3),
    ),
    "nothing": (ports(), (), slow_ways(), "network", ()),
}


@pytest.mark.parametrize("what", PROBED)
def test_a_probe_tells_which_port_it_is(tmp_path: Path, what: str) -> None:
    hosts, racks, rates, kind, ranks = PROBED[what]
    run_dir = Cluster(rates=rates, gradient_bytes=4_000_000).write(tmp_path)
    add_probe(run_dir, Network(tuple(hosts), racks))
    found = report(run_dir)
    assert (found.verdict.kind, found.verdict.culprit.ranks) == (kind, ranks)
    assert [port.rank for port in found.network.ports] == [0, 1, 2, 3]


def test_a_link_that_is_slower_than_its_probe_is_told(tmp_path: Path) -> None:
    run_dir = Cluster(rates=slow_ways((3, 2)), gradient_bytes=1_000_000).write(tmp_path)
    add_probe(run_dir, Network(tuple(ports())))
    found = report(run_dir)
    assert found.verdict.kind in ("slow_link", "slow_upload", "slow_download")
    assert any("probe again" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_jitter_on_a_healthy_cluster_is_no_fault(
    tmp_path: Path, seed: int, world_size: int
) -> None:
    rng = random.Random(seed)

    def noisy(usual: float) -> Amount:
        return lambda rank, step: usual * rng.lognormvariate(0, 0.15)

    def rate(a: int, b: int, step: int) -> float:
        return 200 * MBIT * rng.uniform(0.85, 1.1)

    found = diagnosis(
        tmp_path,
        ranks=world_size,
        steps=60,
        data=noisy(0.004),
        forward=noisy(0.03),
        backward=noisy(0.06),
        optimizer=noisy(0.003),
        evaluation=every(30, 0.3),
        saving=every(30, 0.1, rank=0),
        rates=rate,
        starved=noisy(0.004),
    )
    assert found.verdict.kind == "compute", found.verdict.sentence
    assert len(found.stretches) <= 2, found.stretches


BORDERLINE = {
    "a host 20% slower": ({"backward": only(1, 0.048, 0.04)}, "compute"),
    "a port 20% slower": (
        {"rates": lambda a, b, s: (165 if 1 in (a, b) else 200) * MBIT, "gradient_bytes": 400_000},
        "compute",
    ),
    "a slow link that hardly counts": (
        {"rates": slow_ways((3, 2), rate=100 * MBIT), "gradient_bytes": 100_000},
        "compute",
    ),
    "sums of a quarter of the step": ({"gradient_bytes": 350_000}, "compute"),
    "rare evaluation": ({"evaluation": every(20, 0.2)}, "compute"),
    "the first layer of two": (
        {"layers": (("fc", 900_000), ("out", 100_000)), "gradient_bytes": 4_000_000},
        "network",
    ),
}


@pytest.mark.parametrize("what", BORDERLINE)
def test_what_hardly_costs_anything_is_not_blamed(tmp_path: Path, what: str) -> None:
    fields, kind = BORDERLINE[what]
    verdict = diagnosis(tmp_path, **fields).verdict
    assert verdict.kind == kind, verdict.sentence


def test_ranks_that_take_turns_at_being_last_are_uneven(tmp_path: Path) -> None:
    turns = lambda rank, step: 0.2 if step % 4 == rank else 0.03  # noqa: E731
    verdict = diagnosis(tmp_path, forward=turns).verdict
    assert (verdict.kind, verdict.culprit.ranks) == ("uneven", ())


def test_a_paused_host_is_told_with_its_seconds(tmp_path: Path) -> None:
    paused = lambda rank, step: 5.04 if (rank, step) == (2, 20) else 0.04  # noqa: E731
    cpu = lambda rank, step: 0.065  # noqa: E731
    found = diagnosis(tmp_path, backward=paused, cpu=cpu, steps=80)
    assert (found.verdict.kind, found.verdict.culprit.ranks) == ("paused", (2,))
    assert [(gap.step, gap.host) for gap in found.gaps] == [(20, "host cat")]
    assert found.gaps[0].seconds == pytest.approx(5.0)
    assert found.parts.step_s < 0.1, "what stood still is no part of a mean step"


def test_a_step_that_works_longer_is_no_pause(tmp_path: Path) -> None:
    longer = lambda rank, step: 5.04 if (rank, step) == (2, 20) else 0.04  # noqa: E731
    assert not diagnosis(tmp_path, backward=longer, steps=80).gaps


def test_a_host_paused_in_a_sum_is_found_by_its_full_window(tmp_path: Path) -> None:
    found = diagnosis(tmp_path, sum_extra=lambda step: 4.0 if step == 12 else 0.0)
    assert [gap.rank for gap in found.gaps] == [None]
    assert "all ranks waited 4 s longer in a sum" in found.gaps[0].text
