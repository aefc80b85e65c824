"""Ranks find each other and nobody else, within bounds of time and memory."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree.wires import Mesh, WireClosedError, connect
from firetree.wires.listener import GREETING_S, MOST_WAITING, TOKEN_BYTES, Listener, greeting

HERE = "127.0.0.1"
TOKEN = bytes(TOKEN_BYTES)


def listening() -> socket.socket:
    return socket.create_server((HERE, 0), backlog=1024)


def gathering(size: int) -> Callable[[int], Callable[[Any], list[Any]]]:
    """For each rank what tells all others its value."""
    told: list[Any] = [None] * size
    all_here = threading.Barrier(size)

    def of_rank(rank: int) -> Callable[[Any], list[Any]]:
        def gather(value: Any) -> list[Any]:
            told[rank] = value
            all_here.wait(10)
            return told

        return gather

    return of_rank


def connected(size: int) -> list[Mesh]:
    gather = gathering(size)
    with ThreadPoolExecutor(size) as threads:
        return [
            *threads.map(
                lambda rank: connect(gather(rank), rank, range(size), listening(), 10), range(size)
            )
        ]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_each_rank_reaches_each_other_rank(size: int) -> None:
    meshes = connected(size)
    for mesh in meshes:
        assert sorted(mesh.wires) == [rank for rank in range(size) if rank != mesh.rank]
        for peer, wire in mesh.wires.items():
            assert wire.send(memoryview(bytes([mesh.rank, peer]))) == 2
    for mesh in meshes:
        for peer, wire in mesh.wires.items():
            heard = bytearray(2)
            while not wire.receive(memoryview(heard)):
                time.sleep(0.001)
            assert [*heard] == [peer, mesh.rank]
        mesh.close()


def test_the_end_of_a_rank_is_noticed_at_once() -> None:
    here, other = connected(2)
    assert here.wires[1].receive(memoryview(bytearray(1))) == 0
    other.close()
    time.sleep(0.05)
    with pytest.raises(WireClosedError):
        here.wires[1].receive(memoryview(bytearray(1)))
    here.close()


def test_a_wire_that_another_thread_has_closed_says_so_to_who_sends_or_receives() -> None:
    here, other = connected(2)
    here.wires[1].close()
    here.wires[1].limit_unsent(in_turn=True)
    here.wires[1].wake_at(100)
    with pytest.raises(WireClosedError):
        here.wires[1].receive(memoryview(bytearray(1)))
    other.close()


def test_the_end_of_a_rank_is_noticed_though_a_process_that_it_forked_lives_on() -> None:
    here, other = connected(2)
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    try:
        other.close()
        time.sleep(0.05)
        with pytest.raises(WireClosedError):
            here.wires[1].receive(memoryview(bytearray(1)))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    here.close()


def test_nothing_listens_once_all_are_connected() -> None:
    ports: list[int] = []
    gather = gathering(2)

    def noting(rank: int) -> Callable[[Any], list[Any]]:
        def gather_and_note(value: Any) -> list[Any]:
            ports.append(value[1])
            return gather(rank)(value)

        return gather_and_note

    with ThreadPoolExecutor(2) as threads:
        meshes = [
            *threads.map(
                lambda rank: connect(noting(rank), rank, range(2), listening(), 10), range(2)
            )
        ]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE, port), 1)
    for mesh in meshes:
        mesh.close()


def test_ranks_that_do_not_come_are_named() -> None:
    with (
        closing(Listener(listening())) as listener,
        pytest.raises(TimeoutError, match="rank 1, rank 3"),
    ):
        listener.accept(TOKEN, (1, 3), time.monotonic() + 0.2)


def knock(listener: Listener, words: bytes) -> socket.socket:
    stream = socket.create_connection((HERE, listener.port), 5)
    with suppress(OSError):
        stream.sendall(words)
    return stream


STRANGERS = {
    "silent": b"",
    "half a greeting": greeting(TOKEN, 1)[:20],
    "another token": greeting(bytes([1] * TOKEN_BYTES), 1),
    "another rank": greeting(TOKEN, 7),
    "rubbish": bytes(range(256)) * 4,
    "a browser": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 3,
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_stranger_is_let_go_and_the_rank_behind_it_comes_in(kind: str) -> None:
    with closing(Listener(listening())) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 10)
        strangers = [knock(listener, STRANGERS[kind]) for _ in range(3)]
        started_s = time.monotonic()
        friend = knock(listener, greeting(TOKEN, 1))
        streams = answered.result()
        assert time.monotonic() - started_s < GREETING_S
        assert [*streams] == [1]
        assert streams[1].getpeername() == friend.getsockname()
        assert listener.refused == 3
        for stream in (*strangers, friend, *streams.values()):
            stream.close()


def test_a_silent_stranger_is_let_go_in_time() -> None:
    with closing(Listener(listening())) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 20)
        with knock(listener, b"") as stranger:
            stranger.settimeout(3 * GREETING_S)
            assert stranger.recv(1) == b""
        with knock(listener, greeting(TOKEN, 1)):
            answered.result()[1].close()


def test_more_strangers_than_may_wait_keep_no_rank_out() -> None:
    with closing(Listener(listening())) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 20)
        strangers = [knock(listener, b"firetree") for _ in range(MOST_WAITING + 20)]
        with knock(listener, greeting(TOKEN, 1)):
            answered.result()[1].close()
        assert listener.refused == len(strangers)
        for stranger in strangers:
            stranger.close()


def test_strangers_that_speak_while_others_take_their_places_keep_no_rank_out() -> None:
    with closing(Listener(listening())) as listener, ThreadPoolExecutor(1) as thread:
        quiet = [knock(listener, b"") for _ in range(MOST_WAITING)]
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 20)
        time.sleep(0.5)  # until all of them are being listened to
        late = [knock(listener, b"") for _ in range(MOST_WAITING)]
        for stranger in quiet:
            with suppress(OSError):
                stranger.sendall(b"rubbish" * 20)
        with knock(listener, greeting(TOKEN, 1)):
            answered.result()[1].close()
        for stranger in (*quiet, *late):
            stranger.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.data())
def test_no_words_but_the_greeting_let_a_client_in(words: list[bytes], data: st.DataObject) -> None:
    hello = greeting(TOKEN, 1)
    at = data.draw(st.integers(0, len(hello) - 1))
    changed = bytearray(hello)
    changed[at] ^= data.draw(st.integers(1, 255))
    with closing(Listener(listening())) as listener:
        strangers = [knock(listener, said) for said in (*words, bytes(changed)) if said != hello]
        for stranger in strangers:
            stranger.shutdown(socket.SHUT_WR)
        with pytest.raises(TimeoutError):
            listener.accept(TOKEN, [1], time.monotonic() + 0.05)
        for stranger in strangers:
            stranger.close()


def test_a_send_in_turn_is_told_of_when_its_bytes_have_left() -> None:
    here, other = connected(2)
    wire, content = here.wires[1], memoryview(bytes(100_000))
    poll = select.poll()
    poll.register(wire.outgoing, 0)
    for in_turn in (True, False, True):
        assert wire.send(content, in_turn=in_turn) == len(content)
        if in_turn:
            [(_, event)] = poll.poll(5000)
            assert event == select.POLLERR
        assert wire.have_left()
        assert not poll.poll(0)
        received = 0
        while received < len(content):
            received += other.wires[0].receive(memoryview(bytearray(100_000)))
    other.close()
    here.close()
