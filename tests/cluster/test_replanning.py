"""A run whose links have changed, while one of its ranks does not answer the probe in time."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.probing import agent, team
from firetree.probing.orders import Order
from firetree.probing.streams import Streams
from firetree.trace import BucketSpan, StepTrace
from firetree.training import planning
from firetree.training.planning import CHECK_STEPS, Planner

SILENT = 2


def news_of_a_change(limit_s: float) -> tuple[list[str | None], bool]:
    """What a planner says after each step, all of whose sums take a second."""
    planning.own_network = lambda: f"host {dist.get_rank()}"  # type: ignore[assignment]
    planner = Planner(torch.nn.Linear(8, 8), torch.ones(1, 8))
    plan = planner.plan
    if dist.get_rank() == SILENT:
        be_busy_for(limit_s)
    news = [planner.look(step_of(number, 1.0)) for number in range(2 * CHECK_STEPS)]
    return [it and it.text for it in news], planner.plan is plan


def step_of(number: int, sum_s: float) -> StepTrace:
    spans = (BucketSpan(0, 8, 0.0, 0.0, sum_s),)
    return StepTrace(number, 0.0, 0.0, 0.1, sum_s, 0.0, 1, 0, spans)


def be_busy_for(limit_s: float) -> None:
    obey = agent._obey

    def late(order: Order, order_s: float, streams: Streams) -> agent.Finding:
        time.sleep(limit_s + team.GRACE_S + 1)
        return obey(order, order_s, streams)

    agent._obey = late


@pytest.mark.slow
def test_a_rank_that_answers_late_leaves_the_plan_as_it_is_on_all() -> None:
    found = run_on_ranks(3, news_of_a_change, 3.0)
    for news, stays in found:
        line = news[CHECK_STEPS - 1]
        assert news == [None] * (CHECK_STEPS - 1) + [line] + [None] * CHECK_STEPS
        assert line is not None
        assert line.startswith("step 5: sums take ")
        assert "times as long as planned; the plan stays: rank 2 did not answer the probe" in line
        assert stays


def news_from_the_first_step_on(hosts: int) -> list[tuple[str, list[str]] | None]:
    """What a planner says of sums that take a second from the first step on, though links are well."""
    if hosts > 1:
        planning.own_network = lambda: f"host {dist.get_rank()}"  # type: ignore[assignment]
    planner = Planner(torch.nn.Linear(8, 8), torch.ones(1, 8))
    news = [planner.look(step_of(number, 1.0)) for number in range(8 * CHECK_STEPS)]
    return [it and (it.text, [kind for kind, _ in it.events]) for it in news]


@pytest.mark.slow
def test_sums_slow_from_the_first_step_on_are_probed_for_once_and_usual_from_then_on() -> None:
    for news in run_on_ranks(2, news_from_the_first_step_on, 2):
        [(text, kinds)] = filter(None, news)
        assert news[CHECK_STEPS - 1] == (text, kinds)
        assert "while links are as probed before; this is usual from here on" in text
        assert kinds == ["slower", "probed"]


def test_one_host_has_no_links_to_probe() -> None:
    for news in run_on_ranks(2, news_from_the_first_step_on, 1):
        assert news == [None] * len(news)
