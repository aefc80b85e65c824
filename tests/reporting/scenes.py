"""Made-up runs with whole traces: a healthy one, one with a slow host and a new plan, one that died."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from firetree.network import Host, Network
from firetree.probing import Probe
from firetree.trace import (
    BucketSpan,
    ChannelSpan,
    Event,
    LayerBytes,
    OpenBucket,
    OpenStep,
    PassSpan,
    PhaseSpan,
    RankTrace,
    StepTrace,
    Trace,
    TraceHeader,
    TransferSpan,
    WireSpan,
    add_event,
    append_steps,
    begin_trace,
    is_detailed,
    write_now,
)
from firetree.wires.tcp_info import TcpInfo

LAYERS = tuple(
    LayerBytes(f"layer{stage}.{block}.conv{conv}", 295_000 * stage)
    for stage in (4, 3, 2, 1)
    for block in (1, 0)
    for conv in (2, 1)
)
BUCKETS = 4
FORWARD, BACKWARD, OPTIMIZER = 0.3, 0.62, 0.08
"""Parts of the time that a rank computes."""


@dataclass(frozen=True)
class Conditions:
    """What holds from a step on; `load` is the part of a ring's bytes that each rank carries."""

    mbit_s: tuple[float, ...]
    compute_s: tuple[float, ...]
    load: tuple[float, ...]
    algorithm: str = "ring"
    data_s: float = 0.002


@dataclass(frozen=True)
class Scene:
    """A run; `changes` are by the step at which they come."""

    hosts: tuple[str, ...]
    steps: int
    changes: dict[int, Conditions]
    events: tuple[tuple[str, int, str, int | None], ...] = ()
    layers: tuple[LayerBytes, ...] = LAYERS
    script: str = "train.py"

    @property
    def world_size(self) -> int:
        return len(self.hosts)

    @property
    def gradient_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)

    def header(self, rank: int) -> TraceHeader:
        return TraceHeader(
            rank,
            self.world_size,
            self.changes[0].algorithm,
            "executor",
            self.gradient_bytes,
            None,
            self.hosts[rank],
            f"10.0.0.{1 + sorted(set(self.hosts)).index(self.hosts[rank])}",
            self.layers,
            self.script,
        )

    def conditions(self, step: int) -> Conditions:
        return self.changes[max(at for at in self.changes if at <= step)]


def made(scene: Scene, seed: int = 0) -> Trace:
    """The trace of a scene, the same for the same seed."""
    random = Random(seed)
    ranks: list[list[StepTrace]] = [[] for _ in scene.hosts]
    at_s, starts_s = 100.0, {}
    for number in range(scene.steps):
        starts_s[number] = at_s
        for rank, step in enumerate(_round(scene, number, at_s, random)):
            ranks[rank].append(step)
        at_s = max(steps[-1].start_s + steps[-1].step_s for steps in ranks)
    starts_s[scene.steps] = at_s
    return Trace(
        tuple(RankTrace(scene.header(rank), tuple(steps)) for rank, steps in enumerate(ranks)),
        tuple(Event(k, starts_s[at], at, text, rank) for k, at, text, rank in scene.events),  # type: ignore[arg-type]
    )


def _round(scene: Scene, number: int, at_s: float, random: Random) -> list[StepTrace]:
    now = scene.conditions(number)
    everyone = range(scene.world_size)
    data_s = [now.data_s * random.uniform(0.8, 1.5) for _ in everyone]
    compute_s = [part * random.uniform(0.97, 1.05) for part in now.compute_s]
    backward_at_s = [at_s + data_s[it] + FORWARD * compute_s[it] for it in everyone]
    size_bytes = scene.gradient_bytes // BUCKETS
    buckets: list[list[BucketSpan]] = [[] for _ in everyone]
    free_s = at_s
    for index in range(BUCKETS):
        ready_s = [
            backward_at_s[it] + BACKWARD * compute_s[it] * (index + 1) / BUCKETS for it in everyone
        ]
        start_s = max(free_s, *ready_s)
        free_s = start_s + _sum_s(now, size_bytes)
        for rank in everyone:
            begun_s = max(ready_s[rank], buckets[rank][-1].end_s if index else 0.0)
            bucket = BucketSpan(
                index, size_bytes, ready_s[rank], begun_s, free_s - random.uniform(0, 2e-4)
            )
            buckets[rank].append(_detailed(scene, now, bucket, rank, start_s, number))
    return [
        _step(scene, number, at_s, rank, data_s[rank], compute_s[rank], tuple(buckets[rank]))
        for rank in everyone
    ]


def _sum_s(now: Conditions, size_bytes: int) -> float:
    """A round of a ring takes as long as its slowest transfer."""
    world_size = len(now.mbit_s)
    chunk_s = [
        size_bytes / world_size * load * 8e-6 / rate
        for load, rate in zip(now.load, now.mbit_s, strict=True)
    ]
    return 2 * (world_size - 1) * max(chunk_s)


def _detailed(
    scene: Scene, now: Conditions, bucket: BucketSpan, rank: int, start_s: float, number: int
) -> BucketSpan:
    if not is_detailed(number):
        return bucket
    world_size = scene.world_size
    rounds = 2 * (world_size - 1)
    round_s = (bucket.end_s - start_s) / rounds
    chunk_bytes = int(bucket.size_bytes / world_size * now.load[rank])
    transfers = []
    for k in range(rounds):
        begin_s, next_s = start_s + k * round_s, start_s + (k + 1) * round_s
        to, by = (rank + 1) % world_size, (rank - 1) % world_size
        sent_s = chunk_bytes * 8e-6 / min(now.mbit_s[rank], now.mbit_s[to])
        came_s = chunk_bytes * 8e-6 / min(now.mbit_s[rank], now.mbit_s[by])
        kind = "recv_reduce" if k < world_size - 1 else "recv"
        transfers += [
            TransferSpan(
                to, "send", k % world_size, chunk_bytes, begin_s, min(begin_s + sent_s, next_s)
            ),
            TransferSpan(
                by,
                kind,  # type: ignore[arg-type]
                k % world_size,
                chunk_bytes,
                begin_s,
                min(begin_s + came_s, next_s),
            ),
        ]
    share = len(scene.layers) // BUCKETS
    names = tuple(it.name for it in scene.layers[bucket.index * share : (bucket.index + 1) * share])
    return BucketSpan(
        bucket.index,
        bucket.size_bytes,
        bucket.ready_s,
        bucket.start_s,
        bucket.end_s,
        tuple(transfers),
        names,
    )


def _step(
    scene: Scene,
    number: int,
    at_s: float,
    rank: int,
    data_s: float,
    compute_s: float,
    buckets: tuple[BucketSpan, ...],
) -> StepTrace:
    now = scene.conditions(number)
    forward_s, optimizer_s = FORWARD * compute_s, OPTIMIZER * compute_s
    ready_s, end_s = buckets[-1].ready_s, buckets[-1].end_s
    backward_s = end_s - at_s - data_s - forward_s
    sent_bytes = int(2 * scene.gradient_bytes * (1 - 1 / scene.world_size) * now.load[rank])
    to, by = (rank + 1) % scene.world_size, (rank - 1) % scene.world_size
    rounds = 2 * (scene.world_size - 1) * BUCKETS
    channels = tuple(
        ChannelSpan(peer, direction, rounds, sent_bytes, buckets[0].start_s, end_s)  # type: ignore[arg-type]
        for peer, direction in ((to, "to"), (by, "from"))
    )
    detailed = is_detailed(number)
    edges = [at_s, at_s + data_s, at_s + data_s + forward_s, ready_s, end_s, end_s + optimizer_s]
    phases = ("data", "forward", "backward", "communication", "optimizer")
    return StepTrace(
        number,
        at_s,
        data_s,
        forward_s,
        backward_s,
        optimizer_s,
        32,
        sent_bytes,
        buckets,
        now.algorithm,
        channels,
        wires=tuple(_wires(now, rank, to, by, sent_bytes, at_s, end_s)) if detailed else (),
        communication_s=end_s - ready_s,
        cpu_s=compute_s * 1.9,
        passes=(PassSpan(ready_s, end_s),),
        phases=tuple(map(PhaseSpan, phases, edges, edges[1:])) if detailed else (),  # type: ignore[arg-type]
    )


def _wires(
    now: Conditions, rank: int, to: int, by: int, sent_bytes: int, start_s: float, end_s: float
) -> list[WireSpan]:
    def wire(peer: int, acked_bytes: int, received_bytes: int) -> WireSpan:
        rate_bytes_s = min(now.mbit_s[rank], now.mbit_s[peer]) * 125_000
        return WireSpan(
            peer,
            start_s,
            end_s,
            TcpInfo(
                acked_bytes=acked_bytes,
                sent_bytes=acked_bytes,
                retransmissions=0,
                received_bytes=received_bytes,
                busy_s=round(acked_bytes / rate_bytes_s, 6),
                rwnd_limited_s=0.0,
                sndbuf_limited_s=0.0,
                rtt_s=0.0004,
                min_rtt_s=0.0002,
                delivery_bytes_s=int(rate_bytes_s),
                app_limited=False,
            ),
        )

    if to == by:
        return [wire(to, sent_bytes, sent_bytes)]
    return [wire(to, sent_bytes, 0), wire(by, 0, sent_bytes)]


FAST = Conditions((9400.0,) * 8, (0.180,) * 8, (1.0,) * 8)
BOXES = ("ada", "ada", "bea", "bea", "carl", "carl", "dora", "dora")


def healthy(steps: int = 200) -> Scene:
    """Eight ranks on four hosts at 10 Gbit/s, most of whose time is spent computing."""
    return Scene(
        BOXES,
        steps,
        {0: FAST},
        (("started", 0, "8 ranks on 4 hosts", None), ("ended", steps, "every step done", None)),
    )


def slow_host(steps: int = 200) -> Scene:
    """Rank 3's port falls to 94 Mbit/s after a third; a new plan comes after two thirds."""
    hosts = ("ada", "bea", "carl", "dora")
    fast = Conditions((940.0,) * 4, (0.180, 0.182, 0.178, 0.185), (1.0,) * 4)
    slow = Conditions((940.0, 940.0, 940.0, 94.0), fast.compute_s, fast.load)
    planned = Conditions(slow.mbit_s, fast.compute_s, (1.2, 1.2, 1.2, 0.55), "kary_tree:2")
    third = steps // 3
    return Scene(
        hosts,
        steps,
        {0: fast, third: slow, 2 * third: planned},
        (
            ("started", 0, "4 ranks on 4 hosts", None),
            ("probed", 0, "6.1 s, all ports carry 940 Mbit/s", None),
            ("planned", 0, "ring, 0.26 s a step expected", None),
            ("slower", min(third + 8, steps), "dora sends 94 Mbit/s, 940 expected", 3),
            ("planned", 2 * third, "kary_tree:2 in place of ring, 0.9 s a step expected", None),
            ("ended", steps, "every step done", None),
        ),
    )


def died(steps: int = 90) -> tuple[Scene, Trace]:
    """Rank 2 stays in its forward pass; the others wait in bucket 1 until they give up."""
    scene = Scene(
        ("ada", "bea", "carl", "dora"),
        steps,
        {0: Conditions((940.0,) * 4, (0.180,) * 4, (1.0,) * 4)},
    )
    whole = made(scene)
    end_s = max(rank.steps[-1].start_s + rank.steps[-1].step_s for rank in whole.ranks)
    ranks = tuple(_stopped(rank, end_s) for rank in whole.ranks)
    events = (
        Event("started", 100.0, 0, "4 ranks on 4 hosts"),
        Event("waiting", end_s + 10, steps, "rank 2 on carl has not arrived at bucket 0", 2),
        Event("failed", end_s + 60, steps, "rank 2 on carl did not answer within 60 s", 2),
    )
    return scene, Trace(ranks, events)


def _stopped(rank: RankTrace, end_s: float) -> RankTrace:
    names = tuple(layer.name for layer in LAYERS[:4])
    if rank.header.rank == 2:
        now = OpenStep(len(rank.steps), end_s + 60, "forward", end_s + 0.002)
    else:
        bucket = OpenBucket(0, end_s + 0.09, None, names)
        now = OpenStep(len(rank.steps), end_s + 60, "communication", end_s + 0.17, (bucket,))
    return RankTrace(rank.header, rank.steps, now)


def write_network(run_dir: Path, scene: Scene) -> Path:
    """Write what a probe before the run found."""
    hosts = tuple(
        Host(rate * 125_000, rate * 125_000, name)
        for rate, name in zip(scene.changes[0].mbit_s, scene.hosts, strict=True)
    )
    (run_dir / "network.json").write_text(Probe(Network(hosts)).to_json(), encoding="utf-8")
    return run_dir


def write_trace(run_dir: Path, trace: Trace) -> Path:
    """Write a trace's files, as a run does."""
    for rank in trace.ranks:
        begin_trace(run_dir, rank.header, 0)
        append_steps(run_dir, rank.header.rank, rank.steps)
        write_now(run_dir, rank.header.rank, rank.now)
    for event in trace.events:
        add_event(run_dir, event)
    return run_dir
