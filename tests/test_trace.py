"""A run's trace: which steps are told in detail, and one clock for all moments."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from firetree.documents import parse_json
from firetree.trace import (
    BucketSpan,
    ChannelSpan,
    OpenBucket,
    OpenStep,
    PassSpan,
    StepTrace,
    TransferSpan,
    WireSpan,
    as_json,
    is_detailed,
    shift,
)
from firetree.wires.tcp_info import TcpInfo


def test_detailed_steps_are_eight_for_each_doubling() -> None:
    detailed = [step for step in range(1 << 12) if is_detailed(step)]
    assert detailed[:24] == [*range(16), 16, 18, 20, 22, 24, 26, 28, 30]
    for power in range(3, 12):
        assert sum(1 << power <= step < 2 << power for step in detailed) == 8


def moments(value: Any) -> list[float]:
    """All points in time of a step as a document, which durations are not."""
    if isinstance(value, dict):
        own = [
            value[it] for it in ("ready_s", "start_s", "end_s", "at_s", "since_s") if it in value
        ]
        return own + [moment for it in value.values() for moment in moments(it)]
    if isinstance(value, list | tuple):
        return [moment for it in value for moment in moments(it)]
    return []


def test_every_moment_of_a_step_moves_to_the_other_clock_and_nothing_else_does() -> None:
    transfer = TransferSpan(1, "send", 0, 10, 1.25, 1.5)
    step = StepTrace(
        *(3, 1.0, 0.5, 0.5, 0.5, 0.5, 8, 10),
        buckets=(BucketSpan(0, 10, 1.0, 1.25, 2.0, (transfer,)),),
        channels=(ChannelSpan(1, "to", 1, 10, 1.25, 1.5),),
        wires=(WireSpan(1, 0.5, 2.25, TcpInfo(busy_s=0.25, acked_bytes=10)),),
    )
    moved = shift(step, 100.0)
    assert moments(asdict(moved)) == [moment + 100 for moment in moments(asdict(step))]
    assert len(moments(asdict(step))) == 1 + 3 + 2 + 2 + 2
    assert shift(moved, -100.0) == step


def test_a_step_as_json_is_the_step_on_the_other_clock() -> None:
    transfer = TransferSpan(1, "send", 0, 10, 1.25, 1.5)
    step = StepTrace(
        *(3, 1.0, 0.5, 0.5, 0.5, 0.5, 8, 10),
        buckets=(BucketSpan(0, 10, 1.0, 1.25, 2.0, (transfer,), layers=('the "größte"',)),),
        wires=(WireSpan(1, 0.5, 2.25, TcpInfo(busy_s=0.25, app_limited=False)),),
        cpu_s=0.1,
    )
    assert parse_json(StepTrace, as_json(step, 100.0), "a step") == shift(step, 100.0)
    waits = OpenStep(3, 1.0, "backward", 0.5, (OpenBucket(0, 0.75, None),))
    assert parse_json(OpenStep, as_json(waits, 100.0), "a step") == shift(waits, 100.0)


def test_what_has_its_default_is_left_out() -> None:
    assert as_json(PassSpan(0.0, 1.0)) == '{"ready_s":0.0,"end_s":1.0}'
    assert as_json(BucketSpan(0, 10, 1.0, 1.25, 2.0)).count(":") == 5
