"""A verdict depends on what ranks did, not on their names, numbers or clock; and a step's parts add up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import MBIT, Cluster

from firetree.reporting import Diagnosis, report
from firetree.reporting.rounds import rounds_of
from firetree.trace import read_trace


def told(cluster: Cluster) -> Diagnosis:
    with tempfile.TemporaryDirectory() as folder:
        return report(cluster.write(Path(folder) / "run"))


def slow_host(rank: int) -> dict[str, object]:
    return {"forward": lambda at, step: 0.15 if at == rank else 0.02}


def slow_port(rank: int) -> dict[str, object]:
    return {
        "rates": lambda a, b, step: (20 if rank in (a, b) else 200) * MBIT,
        "gradient_bytes": 1_000_000,
    }


def slow_loader(rank: int) -> dict[str, object]:
    return {"data": lambda at, step: 0.2 if at == rank else 0.002}


CAUSES = (slow_host, slow_port, slow_loader)


@given(st.sampled_from(CAUSES), st.integers(0, 3), st.floats(-1e6, 1e6), st.permutations(range(4)))
@settings(max_examples=25)
def test_a_culprit_is_found_whatever_its_number_name_and_clock(
    cause: Callable[[int], dict[str, object]], rank: int, clock_s: float, order: list[int]
) -> None:
    hosts = [f"host-{k}" for k in order]
    found = told(Cluster(clock_s=clock_s, hosts=hosts, **cause(rank)))  # type: ignore[arg-type]
    usual = told(Cluster(**cause(0)))  # type: ignore[arg-type]
    assert found.verdict.kind == usual.verdict.kind
    assert found.verdict.culprit.ranks == (rank,)
    assert found.verdict.culprit.hosts == (hosts[rank],)
    assert found.verdict.share == pytest.approx(usual.verdict.share, rel=1e-3)


@given(
    st.lists(st.floats(0.0, 0.5), min_size=8, max_size=8),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 1_000_000),
)
@settings(max_examples=25)
def test_the_parts_of_a_step_add_up_to_the_step(
    seconds: list[float], ranks: int, steps: int, size_bytes: int
) -> None:
    def turned(k: int) -> Callable[[int, int], float]:
        return lambda rank, step: seconds[(k + rank + step) % len(seconds)]

    cluster = Cluster(
        ranks=ranks,
        steps=steps,
        data=turned(0),
        forward=turned(1),
        backward=turned(2),
        optimizer=turned(3),
        evaluation=turned(4),
        saving=turned(5),
        other=turned(6),
        gradient_bytes=size_bytes,
    )
    with tempfile.TemporaryDirectory() as folder:
        trace = read_trace(cluster.write(Path(folder) / "run"))
    rounds = rounds_of(trace.ranks)
    assert rounds is not None
    for k, one in enumerate(rounds.steps):
        for rank, step in enumerate(one):
            assert rounds.step_s[k, rank] == pytest.approx(step.step_s, abs=1e-9)
            assert all(values[k, rank] >= 0 for values in rounds.parts.values())
