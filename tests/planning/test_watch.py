"""When sums take another time than planned, and what of it is for the links to explain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.planning.watch import WINDOW, Watch

PASS_S = 1.0


def watch_after(sums_s: Sequence[float], planned_s: float = 0.1, **settings: float | None) -> Watch:
    watch = Watch(**settings)  # type: ignore[arg-type]
    for sum_s in sums_s:
        watch.add(sum_s, planned_s, PASS_S)
    return watch


@pytest.mark.parametrize(
    ("sums_s", "times"),
    [([0.4] * 5, 4.0), ([0.1, 0.1, 0.4, 0.4, 0.4], 4.0)],
    ids=["from the first", "since the third"],
)
def test_sums_that_take_another_time_than_planned_are_noticed(
    sums_s: list[float], times: float
) -> None:
    watch = watch_after(sums_s)
    assert watch.has_changed
    assert watch.times == pytest.approx(times)
    assert watch.news == f"sums take {times:.2g} times as long as planned"


@pytest.mark.parametrize(
    "sums_s",
    [[], [0.4] * 4, [0.1, 0.9, 0.1, 0.9, 0.1], [0.14] * 20],
    ids=["nothing yet", "too few passes", "two hiccups", "a little slower"],
)
def test_what_may_be_chance_changes_nothing(sums_s: list[float]) -> None:
    assert not watch_after(sums_s).has_changed


def test_an_unsure_probe_widens_what_may_be_chance() -> None:
    assert watch_after([0.32] * 5, planned_s=0.2).has_changed
    assert not watch_after([0.32] * 5, planned_s=0.2, unsure=0.2).has_changed


@pytest.mark.parametrize(("sum_s", "pass_s"), [(0.08, 1.0), (0.009, 0.02)])
def test_a_small_part_of_a_pass_or_some_milliseconds_are_not_worth_a_probe(
    sum_s: float, pass_s: float
) -> None:
    watch = Watch()
    for _ in range(WINDOW):
        watch.add(sum_s, sum_s / 10, pass_s)
    assert not watch.has_changed


def test_without_a_usable_plan_the_first_passes_say_what_is_usual() -> None:
    watch = watch_after([0.9] * 10, usual=None)
    assert not watch.has_changed
    for _ in range(WINDOW):
        watch.add(2.7, 0.1, PASS_S)
    assert watch.has_changed
    assert watch.news == "sums take 3 times as long as before"


def test_slower_links_explain_slower_sums() -> None:
    watch = watch_after([0.6] * 5)
    assert watch.explain(before_s=0.1, now_s=0.5)
    assert watch.usual == 1.0


def test_sums_that_are_faster_than_planned_are_noticed_and_explained_by_faster_links() -> None:
    watch = watch_after([0.1] * 5, planned_s=0.5)
    assert watch.has_changed
    assert watch.explain(before_s=0.5, now_s=0.1)


def test_what_links_do_not_explain_is_usual_from_then_on_and_never_probed_for_again() -> None:
    watch = watch_after([0.6] * 5)
    assert not watch.explain(before_s=0.1, now_s=0.11)
    for _ in range(1000):
        watch.add(0.6, 0.1, PASS_S)
        assert not watch.has_changed


def test_faster_links_do_not_explain_slower_sums() -> None:
    assert not watch_after([0.6] * 5).explain(before_s=0.1, now_s=0.02)


@given(st.lists(st.floats(1e-4, 10.0), min_size=200, max_size=400))
def test_probes_become_rarer_whatever_sums_take(sums_s: list[float]) -> None:
    watch, probed = Watch(), []
    for number, sum_s in enumerate(sums_s):
        watch.add(sum_s, 0.1, 1e-3)
        if watch.has_changed:
            probed.append(number)
            watch.explain(0.1, sum_s)
    gaps = [after - before for before, after in pairwise(probed)]
    assert all(gap >= 20 * 2**number for number, gap in enumerate(gaps))
