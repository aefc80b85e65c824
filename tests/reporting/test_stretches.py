"""A run is cut where its plan or its typical step changes, and nowhere else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import MBIT, Cluster

from firetree.reporting import report
from firetree.reporting.changes import changes
from firetree.trace import Event, add_event


def series(seed: int, *levels: tuple[int, float], noise: float = 0.1) -> np.ndarray:
    rng = random.Random(seed)
    return np.array(
        [level * rng.lognormvariate(0, noise) for steps, level in levels for _ in range(steps)]
    )


@given(st.integers(0, 10_000), st.integers(10, 300), st.floats(0.0, 0.25))
@settings(max_examples=60)
def test_noise_alone_is_no_change(seed: int, steps: int, noise: float) -> None:
    assert changes(series(seed, (steps, 1.0), noise=noise)) == []


@given(
    st.integers(0, 10_000),
    st.integers(20, 200),
    st.integers(20, 200),
    st.floats(1.6, 10.0),
    st.booleans(),
)
@settings(max_examples=60)
def test_a_change_is_found_where_it_is(
    seed: int, before: int, after: int, factor: float, up: bool
) -> None:
    found = changes(series(seed, (before, 1.0), (after, factor if up else 1 / factor)))
    assert len(found) == 1
    assert abs(found[0] - before) <= 3


@given(st.integers(0, 10_000), st.floats(1e-4, 1e3))
@settings(max_examples=20)
def test_changes_do_not_depend_on_the_unit(seed: int, unit: float) -> None:
    times_s = series(seed, (40, 1.0), (30, 3.0), (30, 1.5))
    assert changes(times_s) == changes(unit * times_s)


def test_single_slow_steps_are_no_change() -> None:
    times_s = series(3, (200, 1.0))
    times_s[::20] *= 8
    assert changes(times_s) == []


def test_a_bump_in_a_long_run_is_found() -> None:
    assert len(changes(series(1, (1500, 1.0), (60, 3.0), (1500, 1.0)))) == 2


def dropped(a: int, b: int, step: int) -> float:
    return (20 if step >= 30 and 3 in (a, b) else 200) * MBIT


def test_a_link_that_dropped_is_told_with_its_step_and_what_it_carried(tmp_path: Path) -> None:
    found = report(Cluster(steps=60, rates=dropped, gradient_bytes=1_000_000).write(tmp_path))
    assert [(it.first_step, it.last_step) for it in found.stretches] == [(0, 29), (30, 59)]
    assert found.judged == 1
    verdict = found.verdict
    assert (verdict.kind, verdict.culprit.ranks, verdict.since_step) == ("slow_port", (3,), 30)
    assert "where it carried 200 Mbit/s" in verdict.sentence
    assert verdict.sentence.endswith("so since step 30.")
    assert found.stretches[1].began.endswith("waiting for the network")
    changed = [link for link in found.network.links if link.earlier_bytes_s]
    assert {(link.sender, link.receiver) for link in changed} == {(3, 2), (0, 3)}
    assert {link.since_step for link in changed} == {30}


def test_a_link_that_came_back_is_no_verdict(tmp_path: Path) -> None:
    def for_a_while(a: int, b: int, step: int) -> float:
        return dropped(a, b, step if step < 60 else 0)

    found = report(Cluster(steps=120, rates=for_a_while).write(tmp_path))
    assert found.verdict.kind == "compute"
    assert [it.first_step for it in found.stretches] == [0, 30, 60]


def test_a_new_plan_begins_a_stretch_whatever_it_brings(tmp_path: Path) -> None:
    cluster = Cluster(steps=50, algorithm=lambda step: "gloo" if step < 25 else "hierarchical:3")
    found = report(cluster.write(tmp_path))
    assert [(it.algorithm, it.steps) for it in found.stretches] == [
        ("gloo", 25),
        ("hierarchical:3", 25),
    ]
    assert found.stretches[1].began == "planned anew: gloo → hierarchical:3"
    assert found.algorithm == "hierarchical:3"


def test_a_resumed_run_has_two_stretches(tmp_path: Path) -> None:
    Cluster(steps=40).write(tmp_path)
    for step in (0, 20):
        add_event(tmp_path, Event("started", 1000.0 + step, step, "4 ranks"))
    assert [it.began for it in report(tmp_path).stretches] == ["", "resumed"]


def test_the_first_steps_are_apart_if_they_take_longer(tmp_path: Path) -> None:
    found = report(
        Cluster(forward=lambda rank, step: 3.0 if step < 1 else 0.02, steps=30).write(tmp_path)
    )
    assert [(it.is_start, it.steps) for it in found.stretches] == [(True, 1), (False, 29)]
    assert found.step_s < 0.2


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_a_very_short_run_has_one_stretch(tmp_path: Path, steps: int) -> None:
    found = report(Cluster(steps=steps).write(tmp_path))
    assert (len(found.stretches), found.steps, found.verdict.kind) == (1, steps, "compute")
