"""`attach(model, "auto")`: what it measures, what it takes, and what it does when sums take longer."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import firetree
from firetree.planning.candidates import GLOO
from firetree.planning.ladder import Ladder, Rung
from firetree.planning.watch import WINDOW
from firetree.probing import agent
from firetree.sync import Synchroniser, measuring
from firetree.wires.secret import VARIABLE, new_secret

SILENT = 2


def as_if_on_hosts_of_their_own() -> None:
    measuring.own_network = lambda: f"host {dist.get_rank()}"  # type: ignore[assignment]


def heard() -> list[str]:
    """What the logger says from now on."""
    said: list[str] = []

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger("firetree")
    logger.setLevel(logging.INFO)
    logger.addHandler(Said())
    return said


def wide(width: int = 4) -> DistributedDataParallel:
    torch.manual_seed(width)
    return DistributedDataParallel(nn.Linear(width, width), bucket_cap_mb=1)


def mean_of_ranks(model: DistributedDataParallel) -> float:
    """The gradient for inputs that are this rank's number."""
    width = model.module.weight.shape[1]
    model.zero_grad()
    model(torch.full((1, width), float(dist.get_rank()))).sum().backward()
    return float(model.module.weight.grad[0, 0])


def on_one_host() -> tuple[list[str], float, bool]:
    said, model = heard(), wide()
    synchroniser = firetree.attach(model)
    chooser = synchroniser.chooser
    assert chooser is not None
    return [*said], mean_of_ranks(model), chooser.probe is None


def test_on_one_host_nothing_is_measured_and_the_way_is_said_once() -> None:
    (said, mean, unmeasured), (others, *_) = run_on_ranks(2, on_one_host)
    assert said == [
        "firetree.attach: auto: 2 ranks on one host, no network to measure; ring for all sizes"
    ]
    assert others == []
    assert mean == 0.5
    assert unmeasured


def on_several_hosts() -> tuple[list[str], list[float], list[str], int]:
    as_if_on_hosts_of_their_own()
    said, means, took = heard(), [], []
    for width in (4, 5):  # the second model needs no probe
        model = wide(width)
        synchroniser = firetree.attach(model, "auto")
        means += [mean_of_ranks(model) for _ in range(WINDOW + 3)]
        assert synchroniser.chooser is not None
        took += [f"{event.kind}: {event.text}" for event in synchroniser.chooser.events[:2]]
    # On a busy machine sums may take longer than priced, which is then said too.
    lines = [line for line in said if "auto: " in line and "auto: after" not in line]
    return lines, means, took, len(measuring._measured)


def test_between_hosts_the_network_is_measured_once_and_the_sums_are_right() -> None:
    (said, means, events, measured), (others, _, nothing, _) = run_on_ranks(2, on_several_hosts)
    assert means == [0.5] * len(means)
    assert measured == 1
    assert "auto: measured 2 hosts in " in said[0]
    assert "should take" in said[1]
    assert [event.split(":")[0] for event in events] == ["probed", "planned"] * 2
    assert others == nothing == []


def only_some_measure() -> list[str]:
    """A group of two of three ranks; the third one knows nothing of it."""
    as_if_on_hosts_of_their_own()
    said, group = heard(), dist.new_group([0, 2])
    if dist.get_rank() != 1:
        model = DistributedDataParallel(nn.Linear(4, 4), process_group=group)
        firetree.attach(model)
        assert mean_of_ranks(model) == 1.0
    dist.barrier()
    return said


def test_a_group_of_some_ranks_measures_among_itself() -> None:
    first, outside, _ = run_on_ranks(3, only_some_measure)
    assert any("measured 2 hosts in " in line for line in first)
    assert outside == []


def in_private(secret: str) -> tuple[list[frozenset[str]], list[float]]:
    """On one host, and on two, with gradients for which Gloo's own sums would be taken."""
    os.environ[VARIABLE] = secret
    ways, means = [], []
    for several in (False, True):
        if several:
            as_if_on_hosts_of_their_own()
        model = wide(2200)
        synchroniser = firetree.attach(model)
        ways.append(synchroniser.chosen.algorithms)
        means.append(mean_of_ranks(model))
    return ways, means


def test_with_a_secret_gloo_is_never_taken(tmp_path: Path) -> None:
    new_secret(tmp_path / "secret")
    for ways, means in run_on_ranks(2, in_private, str(tmp_path / "secret")):
        assert all(GLOO not in way for way in ways)
        assert means == [0.5, 0.5]


def priced(synchroniser: Synchroniser, part: float) -> None:
    """Prices as a network would have them on which sums take a part of the time."""
    chooser = synchroniser.chooser
    assert chooser is not None
    assert isinstance(chooser.chosen, Ladder)
    chooser.chosen = Ladder(
        tuple(Rung(it.size_bytes, it.choice, part * (it.sum_s or 0)) for it in chooser.chosen.rungs)
    )


def slower_than_priced(part: float) -> tuple[list[str], list[float]]:
    as_if_on_hosts_of_their_own()
    said, model = heard(), wide(4400)  # 77 MB, whose sum takes well over the 10 ms that count
    priced(firetree.attach(model), part)
    said.clear()
    means = [mean_of_ranks(model) for _ in range(4 * WINDOW)]
    return [line for line in said if "auto: after" in line], means


def test_sums_that_take_longer_than_priced_are_measured_anew_once_and_stay_right() -> None:
    (said, means), (others, _) = run_on_ranks(2, slower_than_priced, 1e-3)
    assert means == [0.5] * len(means)
    assert said[0].startswith(f"firetree.attach: auto: after {WINDOW} passes sums take ")
    assert " times as long as planned" in said[0]
    assert others == []


def with_a_rank_that_leaves_the_probe() -> tuple[list[str], str, float]:
    as_if_on_hosts_of_their_own()
    if dist.get_rank() == SILENT:
        agent._obey = be_late
    said, model = heard(), wide()
    synchroniser = firetree.attach(model)
    return [line for line in said if "auto: " in line], synchroniser.algorithm, mean_of_ranks(model)


def be_late(*_: object) -> agent.Finding:
    time.sleep(8.0)
    raise OSError("too late")


@pytest.mark.slow
def test_where_a_rank_does_not_answer_the_probe_all_take_the_backends_sums_and_say_so() -> None:
    first, *others = run_on_ranks(3, with_a_rank_that_leaves_the_probe)
    assert first[0] == [
        "firetree.attach: auto: the network was not measured, as rank 2 did not answer the probe; "
        "gloo sums all gradients"
    ]
    assert all((way, mean) == (GLOO, 1.0) for _, way, mean in (first, *others))
