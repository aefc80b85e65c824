"""What to do next, and notes, in runs that were planned, sharded, or held up by their buffers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made import MBIT, Cluster
from test_verdicts import add_probe, diagnosis, ports, slow_ways

from firetree.network import Network
from firetree.reporting import report
from firetree.trace import SHARDED, Event, PassSpan, PhaseSpan, StepTrace, add_event, read_trace


def test_ways_that_share_a_port_are_no_slower_than_its_probe(tmp_path: Path) -> None:
    rates = lambda a, b, step: (10 if a == 2 else 200) * MBIT  # noqa: E731
    cluster = Cluster(rates=rates, gradient_bytes=1_000_000, more_flows=[(2, 0, 1.5e6)])
    add_probe(cluster.write(tmp_path), Network(tuple(ports((2, 20, 200)))))
    found = report(tmp_path)
    assert (found.verdict.kind, found.verdict.culprit.ranks) == ("slow_upload", (2,))
    assert found.verdict.culprit.figure == 20 * MBIT
    assert not any("probe again" in note for note in found.notes)


@pytest.mark.parametrize(
    "ways", [((3, 2),), ((2, 1), (0, 3)), tuple((r, (r - 1) % 4) for r in range(4))]
)
def test_sharded_sums_are_not_sent_another_way(
    tmp_path: Path, ways: tuple[tuple[int, int], ...]
) -> None:
    found = diagnosis(
        tmp_path,
        rates=slow_ways(*ways),
        gradient_bytes=1_000_000,
        algorithm=lambda step: SHARDED,
        queue_s=lambda a, b: 0.01,
    )
    assert "a mesh of two dimensions" in found.verdict.advice
    assert found.verdict.command == ""
    assert not any("gradients as" in gain.change for gain in found.gains)


def test_a_run_that_went_around_a_port_is_not_told_to(tmp_path: Path) -> None:
    run_dir = Cluster(rates=slow_ways((3, 2)), gradient_bytes=4_000_000).write(tmp_path)
    add_probe(run_dir, Network(tuple(ports((3, 20, 200)))))
    add_event(run_dir, Event("planned", 1000.0, 0, "not measured; gloo sums all gradients"))
    assert "--sync auto" in report(run_dir).verdict.command
    add_event(run_dir, Event("probed", 1000.0, 0, "measured 4 hosts"))
    verdict = report(run_dir).verdict
    assert verdict.command == ""
    assert verdict.advice.endswith("until then sums go the best way that was found.")


@pytest.mark.parametrize("part", ["data", "evaluation", "saving", "sum"])
def test_a_rank_that_says_that_it_stood_still_is_believed_wherever_it_was(
    tmp_path: Path, part: str
) -> None:
    still = lambda rank, step: 2.5 if (rank, step) == (2, 20) else 0.002  # noqa: E731
    fields = {"sum_extra": lambda step: 2.5 * (step == 20)} if part == "sum" else {part: still}
    run_dir = Cluster(steps=80, **fields).write(tmp_path)  # type: ignore[arg-type]
    step = read_trace(run_dir).ranks[2].steps[20]
    before_s = 0.07 if part in ("evaluation", "saving", "sum") else 0.0
    add_event(run_dir, Event("paused", step.start_s + before_s + 2.5, 20, "stood still", 2, 2.4))
    found = report(run_dir)
    assert [gap.rank for gap in found.gaps] == [2]
    assert (found.verdict.kind, found.verdict.culprit.ranks) == ("paused", (2,))


def test_a_machine_that_froze_is_no_host_s_fault(tmp_path: Path) -> None:
    frozen = lambda rank, step: 5.04 if (rank, step) == (0, 20) else 0.04  # noqa: E731
    run_dir = Cluster(backward=frozen, cpu=0.065, steps=80).write(tmp_path)
    at_s = read_trace(run_dir).ranks[0].steps[20].start_s + 5.0
    for rank in range(4):
        add_event(run_dir, Event("paused", at_s, 20, "stood still", rank, 4.8))
    found = report(run_dir)
    assert [(gap.step, gap.rank, gap.text) for gap in found.gaps] == [
        (20, None, "all hosts stood still")
    ]


def test_a_port_whose_single_connections_are_slow_too_is_the_port_s_fault(tmp_path: Path) -> None:
    run_dir = Cluster(rates=slow_ways((3, 2)), gradient_bytes=4_000_000).write(tmp_path)
    network = Network(tuple(ports((2, 200, 20))))
    inf, slow = float("inf"), 18 * MBIT
    rows = [[0.0 if a == b else slow if b == 2 else inf for b in range(4)] for a in range(4)]
    add_probe(run_dir, replace(network, pair_bytes_s=tuple(map(tuple, rows))))
    verdict = report(run_dir).verdict
    assert (verdict.kind, verdict.culprit.ranks) == ("slow_download", (2,))


class EvaluatesFirst(Cluster):
    """As watched scripts: what comes between two steps is at the beginning of the second one."""

    def _steps(self) -> list[list[StepTrace]]:
        return [[self._shifted(step) for step in one] for one in super()._steps()]

    def _shifted(self, step: StepTrace) -> StepTrace:
        moved_s = step.evaluation_s + step.other_s
        passes = tuple(PassSpan(it.ready_s + moved_s, it.end_s + moved_s) for it in step.passes)
        buckets = tuple(
            replace(
                it,
                ready_s=it.ready_s + moved_s,
                start_s=it.start_s + moved_s,
                end_s=it.end_s + moved_s,
            )
            for it in step.buckets
        )
        return replace(step, passes=passes, buckets=buckets)


def test_a_pause_in_an_evaluation_before_the_sums_is_found(tmp_path: Path) -> None:
    still = lambda rank, step: 2.5 if step == 20 else 0.002  # noqa: E731
    run_dir = EvaluatesFirst(steps=80, evaluation=still).write(tmp_path)
    start_s = read_trace(run_dir).ranks[2].steps[20].start_s
    add_event(run_dir, Event("paused", start_s + 2.5, 20, "stood still", 2, 2.4))
    found = report(run_dir)
    assert [(gap.step, gap.rank) for gap in found.gaps] == [(20, 2)]


class WaitsForBuffers(Cluster):
    """Before each forward pass ranks wait 30 ms for rank 0's buffers."""

    def _steps(self) -> list[list[StepTrace]]:
        return [[self._waited(step) for step in one] for one in super()._steps()]

    def _waited(self, step: StepTrace) -> StepTrace:
        came_s = step.start_s + 0.03
        phases = (
            PhaseSpan("communication", step.start_s, came_s),
            PhaseSpan("forward", came_s, came_s + 0.02),
        )
        return replace(step, phases=phases, communication_s=step.communication_s + 0.03)


def test_waits_for_buffers_are_noted(tmp_path: Path) -> None:
    assert not report(Cluster().write(tmp_path / "usual")).notes
    [note] = report(WaitsForBuffers().write(tmp_path / "waits")).notes
    assert note.startswith("ranks wait ")
    assert "broadcast_buffers=False" in note
