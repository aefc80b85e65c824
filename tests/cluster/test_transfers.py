"""A run's trace tells what went between any two ranks, when, and what the kernel says of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median

import pytest
from command import COMMAND, firetree

from firetree import collectives
from firetree.collectives.schedule import chunk_bounds
from firetree.trace import BucketSpan, RankTrace, StepTrace, is_detailed, read_trace
from firetree.wires import new_secret
from firetree.wires.tcp_info import TcpInfo

STEPS = 18
"""The last one is not told in detail."""


def trained(run_dir: Path, algorithm: str, *secret: object) -> tuple[RankTrace, ...]:
    """The traces of three workers' short run."""
    code, _, err = firetree(
        *(*secret, "train", "digits", "--workers", 3, "--run-dir", run_dir),
        *("--optim.steps", STEPS, "--sync.bucket-bytes", 100_000, "--sync.algorithm", algorithm),
    )
    assert (code, err) == (0, "")
    return read_trace(run_dir).ranks


def ring_bytes(rank: int, step: StepTrace) -> Counter[tuple[str, int]]:
    """What a rank of a ring of three sends to each peer, and receives from it, by the schedule."""
    expected: Counter[tuple[str, int]] = Counter()
    for bucket in step.buckets:
        chunks = collectives.chunks_for("ring", 3, bucket.size_bytes)
        bounds = chunk_bounds(bucket.size_bytes // 4, chunks)
        for op in collectives.build("ring", 3, chunks).programs[rank]:
            direction = "to" if op.kind == "send" else "from"
            expected[direction, op.peer] += 4 * (bounds[op.chunk + 1] - bounds[op.chunk])
    return expected


def transfer_bytes(step: StepTrace) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for bucket in step.buckets:
        for it in bucket.transfers:
            found["to" if it.kind == "send" else "from", it.peer] += it.size_bytes
    return found


@pytest.mark.parametrize("private", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_transfers_have_the_bytes_that_were_sent_and_lie_within_their_bucket(
    tmp_path: Path, private: bool
) -> None:
    secret: tuple[object, ...] = ()
    if private:
        new_secret(tmp_path / "secret")
        secret = ("--secret", tmp_path / "secret")
    for trace in trained(tmp_path / "run", "ring", *secret):
        assert len(trace.steps) == STEPS
        for step in trace.steps:
            check(trace.header.rank, step)
        read, came = Counter[int](), Counter[int]()
        for step in trace.steps[:16]:  # each is told in detail
            read.update({it.peer: it.tcp.received_bytes or 0 for it in step.wires})
            came.update({it.peer: it.size_bytes for it in step.channels if it.direction == "from"})
            assert came <= read  # what the next step takes may be there already


def check(rank: int, step: StepTrace) -> None:
    detailed = is_detailed(step.step)
    channels = {(it.direction, it.peer): it.size_bytes for it in step.channels}
    assert channels == ring_bytes(rank, step)
    assert channels["to", (rank + 1) % 3] == step.sent_bytes
    assert transfer_bytes(step) == (channels if detailed else {})
    assert [it.peer for it in step.wires] == (sorted({0, 1, 2} - {rank}) if detailed else [])
    assert len(step.buckets) > 1
    for bucket in step.buckets:
        for it in bucket.transfers:
            assert bucket.start_s <= it.start_s <= it.end_s <= bucket.end_s


def test_what_gloo_sums_has_no_transfers(tmp_path: Path) -> None:
    for trace in trained(tmp_path / "run", "gloo"):
        assert all(step.buckets for step in trace.steps)
        assert not any(step.channels or step.wires for step in trace.steps)
        assert not any(bucket.transfers for step in trace.steps for bucket in step.buckets)


def rates_bytes_s(one: RankTrace, other: RankTrace) -> list[float]:
    """Of each transfer from one rank to another, from its start there to its end here."""
    sender, receiver = one.header.rank, other.header.rank
    rates = []
    for sent, received in zip(buckets(one), buckets(other), strict=True):
        outgoing = [it for it in sent.transfers if (it.kind, it.peer) == ("send", receiver)]
        incoming = [it for it in received.transfers if it.kind != "send" and it.peer == sender]
        for here, there in zip(outgoing, incoming, strict=True):
            rates.append(here.size_bytes / (there.end_s - here.start_s))
    return rates


def buckets(trace: RankTrace) -> list[BucketSpan]:
    return [bucket for step in trace.steps for bucket in step.buckets]


def said_of(peer: int, trace: RankTrace) -> list[TcpInfo]:
    return [it.tcp for step in trace.steps for it in step.wires if it.peer == peer]


@pytest.mark.usefixtures("nothing_left")
def test_transfers_and_the_kernel_name_the_host_with_the_slow_link(tmp_path: Path) -> None:
    code, _, err = firetree(
        *("lab", "--hosts", 3, "--rate", "200mbit", "--slow", "1=20mbit", "--"),
        *(*COMMAND, "train", "digits", "--run-dir", tmp_path / "run", "--optim.steps", 12),
        *("--sync.algorithm", "ring"),
    )
    assert code == 0, err
    ranks = read_trace(tmp_path / "run").ranks
    slow, fast = ((0, 1), (1, 2)), (2, 0)  # a ring sends to the next rank only
    sums_s = {}
    for here, there in (*slow, fast):
        said = said_of(there, ranks[here])
        assert len(said) == 12
        sums_s[here, there] = sum(it.busy_s or 0 for it in said)
        measured = median(rates_bytes_s(ranks[here], ranks[there]))
        delivered = median(it.delivery_bytes_s or 0 for it in said)
        for rate in (measured, delivered):
            assert (rate < 1.2 * 20e6 / 8) == ((here, there) != fast), (here, there, rate)
    assert min(sums_s[pair] for pair in slow) > 3 * sums_s[fast]
