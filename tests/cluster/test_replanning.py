"""A run whose links have changed, while one of its ranks does not answer the probe in time."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.probing import agent, team
from firetree.probing.orders import Order
from firetree.probing.streams import Streams
from firetree.trace import BucketSpan, StepTrace
from firetree.training.planning import CHECK_STEPS, Planner

SILENT = 2


def news_of_a_change(limit_s: float) -> tuple[list[str | None], bool]:
    """What a planner says after each step, of which the last ones' sums take ten times as long."""
    planner = Planner(torch.nn.Linear(8, 8), torch.ones(1, 8))
    plan = planner.plan
    if dist.get_rank() == SILENT:
        be_busy_for(limit_s)
    news = []
    for number in range(2 * CHECK_STEPS):
        sum_s = 0.1 if number < CHECK_STEPS else 1.0
        spans = (BucketSpan(0, 8, 0.0, 0.0, sum_s),)
        news.append(planner.look(StepTrace(number, 0.0, 0.0, 0.1, 0.2, 0.0, 1, 0, spans)))
    return news, planner.plan is plan


def be_busy_for(limit_s: float) -> None:
    obey = agent._obey

    def late(order: Order, order_s: float, streams: Streams) -> agent.Finding:
        time.sleep(limit_s + team.GRACE_S + 1)
        return obey(order, order_s, streams)

    agent._obey = late


def test_a_rank_that_answers_late_leaves_the_plan_as_it_is_on_all() -> None:
    found = run_on_ranks(3, news_of_a_change, 3.0)
    why = "step 10: sums take 10 times as long; the plan stays: rank 2 did not answer the probe"
    for news, stays in found:
        assert news[:-1] == [None] * 9
        assert news[-1].startswith(why)
        assert stays
