"""The trace of `firetree train` tells a step's time whole, who was where, and what happened to the run."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from command import descendants, firetree, start

from firetree.metrics import read_metrics
from firetree.trace import RankTrace, StepTrace, Trace, is_detailed, read_trace

STEPS, SAVED = 30, 12


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trace") / "run"
    code, _, err = firetree(
        *("train", "digits", "--workers", 2, "--optim.steps", STEPS, "--run-dir", folder),
        *("--checkpoint-steps", SAVED, "--sync.bucket-bytes", 100_000),
    )
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def trace(run_dir: Path) -> Trace:
    return read_trace(run_dir)


def both(trace: Trace) -> list[tuple[RankTrace, tuple[StepTrace, ...]]]:
    return [(rank, rank.steps) for rank in trace.ranks]


def test_a_step_begins_where_the_last_one_ended_and_its_phases_are_all_of_it(trace: Trace) -> None:
    for _, steps in both(trace):
        assert [step.step for step in steps] == list(range(STEPS))
        for before, step in pairwise(steps):
            assert step.start_s == pytest.approx(before.start_s + before.step_s, abs=1e-6)
        for step in steps:
            assert bool(step.phases) == is_detailed(step.step)
            if step.phases:
                assert step.phases[0].start_s == pytest.approx(step.start_s, abs=1e-6)
                assert all(
                    one.end_s == pytest.approx(next_.start_s, abs=1e-6)
                    for one, next_ in pairwise(step.phases)
                )
                lasted_s = sum(it.end_s - it.start_s for it in step.phases)
                assert lasted_s == pytest.approx(step.step_s, abs=1e-6)


def test_evaluation_and_saving_count_to_the_step_that_follows(run_dir: Path, trace: Trace) -> None:
    evaluated = {metrics.step for metrics in read_metrics(run_dir)} - {STEPS}
    assert evaluated
    first = min(evaluated)  # the best so far, and so followed by a checkpoint
    for _, steps in both(trace):
        assert {step.step for step in steps if step.evaluation_s} == evaluated | {12, 24}
        assert {step.step for step in steps if step.saving_s} == {SAVED, first, 2 * SAVED}


def test_cpu_time_is_told_beside_wall_time(trace: Trace) -> None:
    for _, steps in both(trace):
        assert all(step.cpu_s > 0 for step in steps)
        assert all(0 <= step.starved_s <= step.compute_s + 1e-6 for step in steps)


def test_headers_name_the_host_and_the_layers_and_buckets_name_theirs(trace: Trace) -> None:
    for rank, steps in both(trace):
        assert rank.header.host
        assert rank.header.address
        sizes = [layer.size_bytes for layer in rank.header.layers]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == rank.header.gradient_bytes
        names = {layer.name for layer in rank.header.layers}
        for step in steps:
            assert len(step.buckets) > 1
            assert all(bool(it.layers) == is_detailed(step.step) for it in step.buckets)
            assert {name for it in step.buckets for name in it.layers} <= names


def test_the_run_says_when_it_began_and_ended(trace: Trace) -> None:
    started, ended = trace.events
    assert (started.kind, started.step) == ("started", 0)
    assert started.text.startswith("2 ranks on ")
    assert (ended.kind, ended.step) == ("ended", STEPS)
    first, *_ = trace.ranks
    assert started.at_s <= first.steps[0].start_s
    assert ended.at_s >= first.steps[-1].start_s


@pytest.mark.slow
def test_a_resumed_run_begins_anew_in_the_same_trace(run_dir: Path) -> None:
    code, _, err = firetree(
        *("train", "digits", "--workers", 2, "--optim.steps", STEPS + 5, "--run-dir", run_dir),
        *("--resume", "--checkpoint-steps", SAVED, "--sync.bucket-bytes", 100_000),
    )
    assert code == 0, err
    again = read_trace(run_dir)
    assert [event.kind for event in again.events] == ["started", "ended"] * 2
    assert f"from step {STEPS} on" in again.events[2].text
    assert [step.step for step in again.ranks[1].steps] == list(range(STEPS + 5))


@pytest.mark.slow
def test_a_lost_rank_is_told_as_the_end_and_rank_0s_steps_are_kept(tmp_path: Path) -> None:
    job = start(
        *("train", "digits", "--workers", 2, "--optim.steps", 100_000, "--sync.timeout-s", 3),
        *("--run-dir", tmp_path / "run", "--checkpoint-steps", 40),
    )
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("epoch 2"):
            break
    os.kill(worker_of(job.pid, 1), signal.SIGKILL)
    job.communicate(timeout=60)
    trace = read_trace(tmp_path / "run")
    failed = trace.events[-1]
    assert failed.kind == "failed"
    assert "rank 1" in failed.text
    assert failed.step == trace.ranks[0].steps[-1].step + 1


def worker_of(job: int, rank: int) -> int:
    """The process of a rank that a job has started."""
    for pid in descendants(job):
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return pid
    raise AssertionError(f"no rank {rank} among {descendants(job)}")
