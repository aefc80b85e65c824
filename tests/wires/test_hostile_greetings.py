"""Whatever unknown clients say, none of them joins, each is counted, and the rank behind them comes in."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from random import Random

import pytest
from test_mesh import TOKEN, knock, listening

from firetree.wires.listener import Listener, greeting

GREETINGS = int(os.environ.get("FIRETREE_GREETINGS", "2000"))
"""How many unknown clients come; 100000 take 15 s."""
AT_A_TIME = 100
RANK = 1


def changed_greeting(dice: Random) -> bytes:
    """The start of no greeting that is right."""
    hello = bytearray(greeting(TOKEN, RANK))
    kind = dice.randrange(5)
    if kind == 0:
        return dice.randbytes(dice.randrange(100))
    if kind == 1:
        return bytes(hello[: dice.randrange(len(hello))])
    if kind == 2:
        return b"\0" + dice.randbytes(dice.randrange(20)) + hello
    if kind == 3:
        return greeting(dice.randbytes(len(TOKEN)), RANK)
    for at in dice.sample(range(len(hello)), k=dice.randint(1, 8)):
        hello[at] ^= dice.randint(1, 255)
    return bytes(hello)


def visit(listener: Listener, dice: Random) -> socket.socket:
    """An unknown client, which says no more or goes on listening."""
    client = knock(listener, changed_greeting(dice))
    if dice.random() < 0.5:
        with suppress(OSError):  # refused already
            client.shutdown(socket.SHUT_WR)
    return client


@pytest.mark.timeout(300 + GREETINGS // 50)
def test_no_unknown_client_joins_each_is_counted_and_the_rank_behind_them_comes_in() -> None:
    dice = Random(0)
    with ThreadPoolExecutor(1) as thread:
        for _ in range(GREETINGS // AT_A_TIME):
            with closing(Listener(listening())) as listener:
                accepted = thread.submit(listener.accept, TOKEN, [RANK], time.monotonic() + 60)
                clients = [visit(listener, dice) for _ in range(AT_A_TIME)]
                rank = knock(listener, greeting(TOKEN, RANK))
                streams = accepted.result()
                assert [*streams] == [RANK]
                assert streams[RANK].getpeername() == rank.getsockname()
                assert listener.refused == AT_A_TIME
                for stream in (*clients, rank, *streams.values()):
                    stream.close()
