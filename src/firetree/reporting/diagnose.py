"""`firetree.report`: from a run's folder to what holds the run back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import overload

import numpy as np

from firetree.confusion import read_confusions
from firetree.errors import UserError
from firetree.metrics import read_metrics
from firetree.reporting.again import command_of
from firetree.reporting.buckets import bucket_reports, buffers_share, heavy_in_time
from firetree.reporting.causes import WORK, Suspect, suspects
from firetree.reporting.classes import class_reports
from firetree.reporting.gains import gain_for, gains_of
from firetree.reporting.gaps import gaps_of
from firetree.reporting.hosts import hosts_of
from firetree.reporting.learning import learning_of
from firetree.reporting.linkage import (
    Linkage,
    earlier_rate,
    even_rate,
    linkage_of,
    network_report,
    network_suspect,
)
from firetree.reporting.probed import read_probe
from firetree.reporting.rounds import StepTable, only, rounds_of
from firetree.reporting.standstill import standstill_of, standstill_verdict
from firetree.reporting.stretches import Segment, judged, segments_of, stretch, was_faster
from firetree.reporting.thresholds import FAULT_FIRST, PAUSE_SHARE, SPECIFIC_SHARE
from firetree.reporting.values import Diagnosis, RankReport, Verdict
from firetree.reporting.words import Scene, percent, verdict_of
from firetree.trace import SHARDED, RankTrace, Trace, read_trace


@overload
def report(runs: str | PathLike[str]) -> Diagnosis: ...  # type: ignore[overload-overlap]
@overload
def report(runs: Sequence[str | PathLike[str]]) -> tuple[Diagnosis, ...]: ...
def report(
    runs: str | PathLike[str] | Sequence[str | PathLike[str]],
) -> Diagnosis | tuple[Diagnosis, ...]:
    """Say what holds a run back, why, and what a change would bring.

    Args:
        runs: a run or its folder, of `firetree train` or `firetree run`; or several of them.

    Returns:
        The run's diagnosis; for several, one for each.

    Raises:
        UserError: a folder holds no run, or a run without a whole step.

    Example:
        >>> firetree.report("runs/demo").verdict.sentence
        '... of a step...'
    """
    if isinstance(runs, str | PathLike):
        return _diagnosis(Path(runs))
    return tuple(_diagnosis(Path(run)) for run in runs)


def _diagnosis(run_dir: Path) -> Diagnosis:
    return diagnose(run_dir, trace_of(run_dir))


def trace_of(run_dir: Path) -> Trace:
    """The trace in a run's folder (UserError where there is none)."""
    if not run_dir.is_dir():
        raise UserError(
            f"no run folder {run_dir}; expected the folder of `firetree train` or `firetree run`"
        )
    return read_trace(run_dir)


def diagnose(run_dir: Path, trace: Trace) -> Diagnosis:
    """What holds a run back, from its trace or a part of it, and what else its folder tells.

    Raises:
        UserError: the trace has no step of all ranks.
    """
    return _Case(run_dir, trace).diagnosis()


class _Case:
    """One run under examination: its rounds, cut into stretches, and the one that is judged."""

    def __init__(self, run_dir: Path, trace: Trace):
        self._run_dir, self._trace = run_dir, trace
        self._header = trace.ranks[0].header
        rounds = rounds_of(trace.ranks)
        if rounds is None:
            raise UserError(
                f"the trace in {run_dir} has no step of all ranks yet; let it run longer"
            )
        self._rounds = rounds
        self._hosts = hosts_of([traced.header for traced in trace.ranks])
        self._segments = segments_of(rounds, trace.events)
        self._gaps, apart = gaps_of(rounds, self._segments, trace.events, self._hosts.called)
        self._apart = apart
        kept = [self._kept(segment) for segment in self._segments]
        self._stretches = tuple(
            stretch(rounds, segment, self._header.algorithm, rest)
            for segment, rest in zip(self._segments, kept, strict=True)
        )
        self._judged = judged(self._stretches)
        self._now = kept[self._judged]
        self._before = kept[self._judged - 1] if self._has_before else None

    def _kept(self, segment: Segment) -> StepTable:
        """A segment's rounds without those in which a rank stood still, if there are others."""
        inside = self._rounds.between(segment.first, segment.end)
        keep = self._apart[segment.first : segment.end] == 0
        return only(inside, keep) if keep.any() else inside

    @property
    def _has_before(self) -> bool:
        """Whether there is a stretch before the one that is judged, besides the start."""
        return self._judged > 0 and not self._stretches[self._judged - 1].is_start

    def diagnosis(self) -> Diagnosis:
        """All of the report."""
        now, header = self._now, self._header
        linkage = self._linkage(now, self._before)
        found = [*self._suspects(now, linkage)]
        verdict, since = self._verdict(found, linkage)
        gains = gains_of(now, linkage, header, self._hosts, found)
        verdict = replace(verdict, gain=gain_for(verdict, gains))
        current = self._stretches[self._judged]
        standstill = standstill_of(self._trace, self._hosts, current.median_s)
        if standstill:
            verdict = standstill_verdict(standstill, self._hosts)
        metrics, confusions = read_metrics(self._run_dir), read_confusions(self._run_dir)
        confusion = confusions.newest if confusions else None
        sent_bytes = [sum_ / now.count for sum_ in _sent(now)]
        busiest = sent_bytes.index(max(sent_bytes))
        samples = sum(sum(step.samples for step in one) * one[0].count for one in now.steps)
        round_s = float(np.average(now.step_s.mean(axis=1), weights=now.weights))
        return Diagnosis(
            run=str(self._run_dir),
            script=header.script,
            world_size=header.world_size,
            algorithm=current.algorithm,
            steps=sum(it.steps for it in self._stretches),
            evaluation=metrics[-1] if metrics else None,
            samples_per_s=samples / now.count / round_s if round_s else 0.0,
            step_s=current.median_s,
            parts=current.parts,
            busiest_rank=busiest,
            busiest_rank_sent_bytes=sent_bytes[busiest],
            bytes_counted_by=header.bytes_counted_by,
            gradient_bytes=header.gradient_bytes,
            formula_bytes=header.formula_bytes,
            verdict=verdict,
            learning=learning_of(self._run_dir, metrics, confusion, self._trace.events),
            classes=class_reports(confusions.classes, confusions.newest) if confusions else (),
            macro_recall=confusion.macro_recall if confusion else None,
            judged=self._judged,
            stretches=self._stretches,
            gaps=tuple(self._gaps),
            ranks=tuple(self._rank(traced) for traced in self._trace.ranks),
            network=network_report(linkage, self._hosts, since),
            buckets=bucket_reports(now),
            gains=gains,
            standstill=standstill,
            notes=tuple(self._notes(linkage)),
        )

    def _linkage(self, rounds: StepTable, before: StepTable | None) -> Linkage:
        probed = read_probe(self._run_dir, self._header.world_size)
        algorithm = rounds.steps[-1][0].algorithm or self._header.algorithm
        return linkage_of(rounds, before, self._trace.ranks, self._hosts, probed, algorithm)

    def _suspects(self, rounds: StepTable, linkage: Linkage) -> Iterator[Suspect]:
        yield network_suspect(linkage, rounds, self._header, self._hosts)
        yield from suspects(rounds)

    def _verdict(self, found: Sequence[Suspect], linkage: Linkage) -> tuple[Verdict, int | None]:
        """What costs most of all that counts; the step since which links are slower, if they are."""
        compute_share = self._share("compute_s")
        counted = [it for it in found if it.counts]
        counted += [it for it in self._pauses() if it.share >= PAUSE_SHARE]
        heavy = heavy_in_time(self._now, compute_share)
        default = heavy or Suspect("compute", 0.0, (), compute_share)
        worst = max(counted, key=_urgency, default=default)
        since = self._since(worst)
        is_network = worst is found[0]
        scene = Scene(
            self._hosts,
            self._now.mean_parts(),
            self._header.gradient_bytes,
            command_of(self._run_dir, self._header.script),
            self._stretches[self._judged].algorithm,
            self._is_planned(since or 0),
            even_rate(linkage),
            earlier_rate(linkage) if is_network and since is not None else None,
            since,
        )
        others = [it for it in found if it is not worst and it.share >= SPECIFIC_SHARE]
        return verdict_of(worst, scene, tuple(self._why(worst, others, scene))), since

    def _is_planned(self, since: int) -> bool:
        """Whether the way to sum was picked on a network that was measured, at this step or later."""
        events = self._trace.events
        is_measured = any(it.kind == "probed" for it in events)
        return is_measured and any(it.kind == "planned" and it.step >= since for it in events)

    def _share(self, name: str) -> float:
        parts = self._now.mean_parts()
        return getattr(parts, name) / parts.step_s if parts.step_s else 0.0

    def _pauses(self) -> Iterator[Suspect]:
        """What standing still cost the whole run, by the rank that did."""
        stood = [gap for gap in self._gaps if gap.rank is not None]
        all_s = sum(it.parts.step_s * it.steps for it in self._stretches)
        all_s += sum(gap.seconds for gap in self._gaps)
        for rank in dict.fromkeys(gap.rank for gap in stood if gap.rank is not None):
            lost_s = sum(gap.seconds for gap in stood if gap.rank == rank)
            yield Suspect("paused", lost_s / all_s, (rank,), lost_s)

    def _since(self, worst: Suspect) -> int | None:
        """The step since which this holds the run back, if it did not before."""
        if self._before is None or worst.kind in ("compute", "paused"):
            return None
        before, current = self._stretches[self._judged - 1], self._stretches[self._judged]
        if not was_faster(before, current):
            return None
        earlier = self._suspects(self._before, self._linkage(self._before, None))
        cost_s = (
            max(
                (it.share for it in earlier if it.kind == worst.kind and it.ranks == worst.ranks),
                default=0.0,
            )
            * before.median_s
        )
        grew = worst.share * current.median_s > 2 * cost_s
        return current.first_step if grew else None

    def _why(self, worst: Suspect, others: Sequence[Suspect], scene: Scene) -> Iterator[str]:
        """The evidence, then what else costs a part of a step."""
        parts = scene.parts
        shares = {
            "computing": parts.compute_s,
            "data": parts.data_s,
            "others": parts.others_wait_s,
            "network": parts.network_wait_s,
        }
        more = {"evaluation": parts.evaluation_s, "saving": parts.saving_s, "other": parts.other_s}
        shares |= {name: seconds for name, seconds in more.items() if scene.share(seconds) != "0%"}
        told = (f"{name} {scene.share(seconds)}" for name, seconds in shares.items())
        yield f"of a step: {', '.join(told)}"
        if worst.kind in WORK and worst.ranks:
            rank, share = _most_often_last(self._now)
            yield f"{self._hosts.called(rank)} was the last to have its gradients in {percent(share)} of the steps"
        for other in sorted(others, key=lambda it: -it.share):
            who = f" of {self._hosts.all_called(other.ranks)}" if other.ranks else ""
            yield f"{other.kind.replace('_', ' ')}{who} costs {percent(other.share)} of a step"

    def _rank(self, traced: RankTrace) -> RankReport:
        rank, now = traced.header.rank, self._now
        parts = now.mean_parts(rank)
        cpu_s = float(now.mean(now.cpu_s)[rank])
        lasts = now.weights[now.last == rank].sum() / now.weights.sum()
        return RankReport(
            rank,
            self._hosts.of(rank),
            traced.header.address,
            parts,
            cpu_s / parts.step_s if now.cpu_s.any() and parts.step_s else None,
            float(now.mean(now.starved_s)[rank]),
            float(lasts),
            sum(one[rank].samples * one[0].count for one in now.steps) / now.count,
            _sent(now)[rank] / now.count,
        )

    def _notes(self, linkage: Linkage) -> Iterator[str]:
        recorded = {len(traced.steps) for traced in self._trace.ranks}
        if len(recorded) > 1:
            yield f"steps that not all ranks recorded are left out: {max(recorded) - len(self._rounds.steps)}"
        of_ddp = self._stretches[self._judged].algorithm != SHARDED
        if of_ddp and (share := buffers_share(self._now)) >= SPECIFIC_SHARE:
            yield (
                f"ranks wait {percent(share)} of a step for rank 0's buffers, before each forward pass; where "
                "they may differ: DistributedDataParallel(…, broadcast_buffers=False)"
            )
        if linkage.contradicts:
            yield "a link carries much less than the probe before the run found; probe again"
        if self._header.host and self._hosts.count > 1 and not linkage.flows and not linkage.probed:
            yield "no link was measured: the kernel was not asked, and the run folder has no network.json"


def _urgency(suspect: Suspect) -> float:
    return suspect.share * (FAULT_FIRST if suspect.is_fault else 1.0)


def _sent(rounds: StepTable) -> list[float]:
    """Bytes that each rank sent in all."""
    ranks = range(len(rounds.steps[0]))
    return [sum(one[rank].sent_bytes * one[0].count for one in rounds.steps) for rank in ranks]


def _most_often_last(rounds: StepTable) -> tuple[int, float]:
    times = np.bincount(rounds.last, rounds.weights, len(rounds.steps[0]))
    rank = int(times.argmax())
    return rank, float(times[rank] / times.sum())
