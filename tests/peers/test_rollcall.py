"""Ranks that lose another one ask each other, and all name the one who failed."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.peers import gather_json, join, waiting
from firetree.peers import rollcall as rollcall_module
from firetree.wires import MOST_WAITING

Said = tuple[str, int | None]
"""The message, and the rank that failed."""

PATIENCE_S = rollcall_module.PATIENCE_S


def lose(number: signal.Signals, accused: dict[int, int]) -> Said:
    """The last rank is sent a signal; the others wait for whom they accuse, and ask, rank 0 last."""
    roll = join()
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    dist.barrier()
    time.sleep(0.5 * (1 + last - rank))  # the first to go out of the barrier may have to pass it on
    if rank == last:
        os.kill(os.getpid(), number)
    loss = roll.lost(f"at chunk {rank}", accused.get(rank), 10.0)
    time.sleep(PATIENCE_S)  # others may still ask
    return str(loss), loss.peer


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (signal.SIGKILL, "rank 3 went away"),
        (signal.SIGSTOP, "rank 3 did not answer within 10 s: the process is stopped or stuck"),
    ],
)
def test_all_name_the_lost_rank_also_those_who_waited_for_a_waiter(
    number: signal.Signals, what: str
) -> None:
    losses = run_on_ranks(4, lose, number, {0: 1, 1: 3}, lost=[3])
    assert losses == [
        (f"{what}; rank 0 waited for rank 1, which waited for it (at chunk 0)", 3),
        (f"{what} (at chunk 1)", 3),
        (f"{what} (at chunk 2)", 3),
    ]


def lose_one_after_another() -> Said:
    """Rank 2 is killed, rank 0 loses it and ends; only then rank 1 hears the end of rank 0."""
    roll = join()
    dist.barrier()
    if dist.get_rank() == 2:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1.0 + dist.get_rank())
    loss = roll.lost("here", peer={0: 2, 1: 0}[dist.get_rank()])
    roll.close()
    return str(loss), loss.peer


def test_who_left_because_of_another_is_not_blamed_by_those_who_come_later() -> None:
    first, second = run_on_ranks(3, lose_one_after_another, lost=[2])
    assert first == ("rank 2 went away (here)", 2)
    assert second == ("rank 2 went away; rank 1 waited for rank 0, which waited for it (here)", 2)


def end_by_itself() -> str:
    roll = join()
    dist.barrier()
    if dist.get_rank() == 1:
        roll.ended("no space left on device")
    time.sleep(0.3)
    return "" if dist.get_rank() == 1 else str(roll.lost("here"))


def test_who_ends_by_itself_gives_the_others_its_reason() -> None:
    said = run_on_ranks(3, end_by_itself)
    assert said[0] == said[2] == "rank 1 ended: no space left on device (here)"


def come_late(busy_s: float) -> list[str]:
    """Rank 2 computes while the others wait for it."""
    rollcall_module.LONG_S = 1.0
    said: list[str] = []
    roll = join()
    roll.say, roll.place = said.append, "step 7"
    dist.barrier()
    if dist.get_rank() == 2:
        time.sleep(busy_s)
    with waiting():
        dist.barrier()
    time.sleep(2.0)
    return said


def test_the_first_rank_that_waits_says_for_whom_and_when_they_came() -> None:
    first, *others = run_on_ranks(3, come_late, 5.0)
    waits, came = first
    assert waits.startswith("waiting for rank 2 since ")
    assert waits.endswith(" s, step 7")
    assert came.startswith("rank 2 came after ")
    assert others == [[], []]


def test_nothing_is_said_of_a_short_wait() -> None:
    assert run_on_ranks(3, come_late, 0.2) == [[], [], []]


def be_spoken_to() -> str:
    roll = join()
    dist.barrier()
    if dist.get_rank() == 0:
        member = roll.members[1]
        silent = [socket.create_connection((member.address, member.port)) for _ in range(50)]
        for text in (b"\n", b"[" * 100_000 + b"\n", b"x" * 3_000_000, b"00 {}\n"):
            with socket.create_connection((member.address, member.port), timeout=5) as stream:
                try:
                    stream.sendall(text)
                    assert stream.recv(100) == b""
                except ConnectionError:
                    pass
        loss = roll.lost("here", peer=1)
        assert len(silent) == 50
        return str(loss)
    time.sleep(3 * PATIENCE_S)
    return ""


def be_flooded() -> int:
    """How many silent clients rank 1 keeps, of which the last come while it cannot answer."""
    roll, (_, pid) = join(), gather_json(os.getpid())
    if dist.get_rank():
        time.sleep(3 * PATIENCE_S)
        return 0
    member = roll.members[1]
    silent = [socket.create_connection((member.address, member.port)) for _ in range(MOST_WAITING)]
    time.sleep(PATIENCE_S / 8)
    os.kill(pid, signal.SIGSTOP)
    silent += [socket.create_connection((member.address, member.port)) for _ in range(90)]
    os.kill(pid, signal.SIGCONT)
    time.sleep(PATIENCE_S / 8)
    return sum(is_open(stream) for stream in silent)


def is_open(stream: socket.socket) -> bool:
    stream.setblocking(False)
    try:
        return bool(stream.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_no_more_silent_clients_are_kept_than_may_wait() -> None:
    assert run_on_ranks(2, be_flooded)[0] <= MOST_WAITING


def test_strangers_hear_nothing_and_hold_up_nobody() -> None:
    assert run_on_ranks(2, be_spoken_to)[0].startswith(
        "rank 1 did not answer in time, but is alive"
    )
