"""Runs on made-up clusters, written step by step, whose cause is known since it was put there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firetree.trace import (
    BucketSpan,
    ConnectionSpan,
    LayerBytes,
    LayerSpan,
    PassSpan,
    StepTrace,
    TraceHeader,
    append_steps,
    begin_trace,
)
from firetree.wires.tcp_info import TcpInfo

MBIT = 1e6 / 8
Amount = float | Callable[[int, int], float]
"""Seconds, or what gives them for a rank and step."""


@dataclass
class Cluster:
    """Ranks that train in step, each on a host of its own, with gradients summed in a ring as Gloo does.

    `rates` gives what the way between two ranks carries in a step, in bytes a second.
    """

    ranks: int = 4
    steps: int = 40
    data: Amount = 0.002
    forward: Amount = 0.02
    backward: Amount = 0.04
    optimizer: Amount = 0.002
    evaluation: Amount = 0.0
    saving: Amount = 0.0
    other: Amount = 0.001
    starved: Amount = 0.0
    cpu: Amount | None = None
    rates: Callable[[int, int, int], float] = lambda a, b, step: 200 * MBIT
    gradient_bytes: int = 250_000
    layers: Sequence[tuple[str, int]] = tuple((f"layer{k}", 25_000) for k in range(10))
    layer_times: Sequence[tuple[str, float]] = ()
    hosts: Sequence[str] = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
    samples: int = 32
    queue_s: Callable[[int, int], float] = lambda a, b: 5e-3
    swing: float = 0.05
    """The mean deviation of a round trip, as a part of it."""
    clock_s: float = 1000.0
    algorithm: Callable[[int], str] = lambda step: "gloo"
    sum_extra: Callable[[int], float] = lambda step: 0.0
    first_step: int = 0
    more_flows: Sequence[tuple[int, int, float]] = field(default_factory=tuple)
    """Further flows in each step: from, to, bytes."""

    def write(self, run_dir: Path) -> Path:
        """All traces of a run."""
        steps = self._steps()
        for rank in range(self.ranks):
            begin_trace(run_dir, self._header(rank), self.first_step)
            append_steps(run_dir, rank, [one[rank] for one in steps])
        return run_dir

    def _header(self, rank: int) -> TraceHeader:
        return TraceHeader(
            rank,
            self.ranks,
            self.algorithm(0),
            "kernel",
            self.gradient_bytes,
            None,
            self.hosts[rank],
            address(rank),
            tuple(LayerBytes(*it) for it in self.layers),
            "train.py",
        )

    def _steps(self) -> list[list[StepTrace]]:
        found, starts_s = [], [self.clock_s] * self.ranks
        for step in range(self.first_step, self.first_step + self.steps):
            one = self._step(step, starts_s)
            found.append(one)
            starts_s = [it.start_s + it.step_s for it in one]
        return found

    def _step(self, step: int, starts_s: list[float]) -> list[StepTrace]:
        everyone = range(self.ranks)

        def of(amount: Amount, rank: int) -> float:
            return amount(rank, step) if callable(amount) else amount

        ready_s = [
            starts_s[r] + of(self.data, r) + of(self.forward, r) + of(self.backward, r)
            for r in everyone
        ]
        ways = [(r, (r - 1) % self.ranks) for r in everyone] if self.ranks > 1 else []
        share_bytes = 2 * (self.ranks - 1) / self.ranks * self.gradient_bytes
        slowest = min([self.rates(a, b, step) for a, b in ways], default=1.0)
        sum_s = share_bytes / slowest + self.sum_extra(step) if ways else 0.0
        end_s = max(ready_s) + sum_s
        found = []
        for rank in everyone:
            spans = self._connections(rank, step, share_bytes, max(ready_s), end_s) if ways else ()
            wait_s = end_s - ready_s[rank]
            parts = {
                "data_wait_s": of(self.data, rank),
                "forward_s": of(self.forward, rank),
                "backward_s": of(self.backward, rank) + wait_s,
                "optimizer_s": of(self.optimizer, rank),
                "evaluation_s": of(self.evaluation, rank),
                "saving_s": of(self.saving, rank),
                "other_s": of(self.other, rank),
            }
            computed_s = sum(parts.values()) - wait_s
            ran_s = computed_s - of(self.starved, rank)
            cpu_s = ran_s if self.cpu is None else of(self.cpu, rank)
            found.append(
                StepTrace(
                    step=step,
                    start_s=starts_s[rank],
                    samples=self.samples,
                    sent_bytes=round(share_bytes) if ways else 0,
                    buckets=(
                        BucketSpan(
                            0,
                            self.gradient_bytes,
                            ready_s[rank],
                            ready_s[rank],
                            end_s,
                            layers=tuple(name for name, _ in self.layers[:4]),
                        ),
                    ),
                    algorithm=self.algorithm(step),
                    communication_s=wait_s,
                    cpu_s=cpu_s,
                    starved_s=of(self.starved, rank),
                    passes=(PassSpan(ready_s[rank], end_s),),
                    connections=spans,
                    layer_times=tuple(LayerSpan(*it) for it in self.layer_times),
                    **parts,
                )
            )
        return found

    def _connections(
        self, rank: int, step: int, share_bytes: float, ready_s: float, end_s: float
    ) -> tuple[ConnectionSpan, ...]:
        flows = [(rank, (rank - 1) % self.ranks, share_bytes)]
        flows += [it for it in self.more_flows if it[0] == rank]
        return tuple(
            ConnectionSpan(
                _end(a, b),
                _end(b, a),
                ready_s,
                end_s,
                TcpInfo(
                    acked_bytes=round(size_bytes),
                    sent_bytes=round(size_bytes),
                    retransmitted_bytes=0,
                    busy_s=size_bytes / self.rates(a, b, step),
                    rwnd_limited_s=0.0,
                    sndbuf_limited_s=0.0,
                    rtt_s=0.2e-3 + self.queue_s(a, b),
                    rttvar_s=self.swing * (0.2e-3 + self.queue_s(a, b)),
                    min_rtt_s=0.2e-3,
                ),
            )
            for a, b, size_bytes in flows
        )


def address(rank: int) -> str:
    return f"10.0.0.{rank + 1}"


def _end(rank: int, peer: int) -> str:
    return f"{address(rank)}:{40000 + peer}"
