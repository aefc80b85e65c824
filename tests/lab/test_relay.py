"""Labs whose packets are delayed and lost: never earlier than asked, never in another order, no byte wrong."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from firetree.errors import UserError
from firetree.lab import Lab, namespaces
from firetree.network import Machine, Network, parse_network

pytestmark = pytest.mark.usefixtures("nothing_left")

SOON_S = 20.0
"""A busy machine may be late by so much."""


@contextmanager
def connected(lab: Lab, source: int, target: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection between two hosts."""
    with ExitStack() as stack:
        listener = namespaces.inside(lab.namespace(target), socket.socket)
        stack.enter_context(listener).bind((lab.address(target), 0))
        listener.listen()
        sender = stack.enter_context(namespaces.inside(lab.namespace(source), socket.socket))
        sender.settimeout(SOON_S)
        sender.connect(listener.getsockname())
        receiver = stack.enter_context(listener.accept()[0])
        receiver.settimeout(SOON_S)
        for end in (sender, receiver):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sender, receiver


def datagram_ends(lab: Lab, stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """A socket of host 0 that is connected with one of host 1."""
    make = partial(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sender, receiver = (
        stack.enter_context(namespaces.inside(lab.namespace(host), make)) for host in (0, 1)
    )
    receiver.bind((lab.address(1), 0))
    receiver.settimeout(SOON_S)
    sender.connect(receiver.getsockname())
    return sender, receiver


def soonest_s(sender: socket.socket, receiver: socket.socket) -> float:
    """The shortest of some one-way times."""
    times = []
    for _ in range(5):
        start_s = time.monotonic()
        sender.sendall(b"?")
        assert receiver.recv(1) == b"?"
        times.append(time.monotonic() - start_s)
    return min(times)


def test_packets_take_the_latency_of_their_direction_and_no_less() -> None:
    table = ((0.0, 0.02, 0.001), (0.06, 0.0, 0.04), (0.001, 0.04, 0.0))
    network = replace(parse_network("3 x 100mbit"), latency_s=table)
    with Lab(network) as lab:
        for source, target in ((0, 1), (1, 2)):
            with connected(lab, source, target) as (one, other):
                assert table[source][target] <= soonest_s(one, other) < SOON_S
                assert table[target][source] <= soonest_s(other, one) < SOON_S


def test_jitter_delays_further_and_keeps_the_order() -> None:
    with Lab(parse_network("2 x 10mbit, 20ms, jitter 30ms")) as lab, ExitStack() as stack:
        sender, receiver = datagram_ends(lab, stack)
        sent_s: dict[int, float] = {}
        taken_s = []
        for number in range(60):
            sent_s[number] = time.monotonic()
            sender.send(bytes([number]) * 1000)
            time.sleep(0.002)
            while select.select([receiver], [], [], 0)[0]:
                taken_s.append((receiver.recv(2000)[0], time.monotonic()))
        while len(taken_s) < 60:
            taken_s.append((receiver.recv(2000)[0], time.monotonic()))
    assert [number for number, _ in taken_s] == [*range(60)]
    late_s = [at_s - sent_s[number] for number, at_s in taken_s]
    assert min(late_s) >= 0.02
    assert max(late_s) >= 0.03  # no longer than 10 ms in 60 tries: one in 10^28


def test_the_share_of_packets_that_was_asked_for_is_lost() -> None:
    with Lab(parse_network("2 x 100mbit, loss 20%")) as lab, ExitStack() as stack:
        sender, receiver = datagram_ends(lab, stack)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        for _ in range(1000):
            sender.send(bytes(100))
        receiver.settimeout(0.5)
        arrived = 0
        with suppress(TimeoutError):
            while receiver.recv(200):
                arrived += 1
    assert 700 < arrived < 900


@pytest.mark.parametrize(
    "text", ["2 x 50mbit, 2ms, loss 2%", "1 x 50mbit | 1 x 50mbit / 20mbit, 2ms"]
)
def test_no_byte_is_wrong_and_none_comes_faster_than_the_rate(text: str) -> None:
    content = os.urandom(1 << 20)
    network = parse_network(text)
    with Lab(network) as lab, connected(lab, 0, 1) as (sender, receiver):
        start_s = time.monotonic()
        sending = threading.Thread(target=sender.sendall, args=(content,))
        sending.start()
        found = bytearray()
        while len(found) < len(content):
            found += receiver.recv(1 << 20)
        taken_s = time.monotonic() - start_s
        sending.join()
    assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()
    assert taken_s > 0.95 * len(content) / network.rate_alone(0, 1)


def test_hosts_that_share_a_medium_share_its_rate_in_both_directions() -> None:
    size_bytes = 200_000
    with (
        Lab(parse_network("4 x 100mbit, medium 20mbit")) as lab,
        connected(lab, 0, 1) as there,
        connected(lab, 2, 3) as elsewhere,
        ThreadPoolExecutor(6) as threads,
    ):
        flows = there, there[::-1], elsewhere

        def receive(stream: socket.socket) -> None:
            left = size_bytes
            while left:
                left -= len(stream.recv(1 << 20))

        start_s = time.monotonic()
        for sender, _ in flows:
            threads.submit(sender.sendall, bytes(size_bytes))
        for done in [threads.submit(receive, receiver) for _, receiver in flows]:
            done.result()
        taken_s = time.monotonic() - start_s
    assert taken_s > 0.95 * len(flows) * size_bytes / (20e6 / 8)


def test_a_cable_that_is_pulled_carries_nothing_until_it_is_back() -> None:
    with Lab(parse_network("2 x 50mbit, 1ms")) as lab, ExitStack() as stack:
        sender, receiver = datagram_ends(lab, stack)
        sender.send(b"one")
        assert receiver.recv(9) == b"one"
        for host in (0, 1):
            lab.link_down(host)
            sender.send(b"lost")
            receiver.settimeout(0.1)
            with pytest.raises(TimeoutError):
                receiver.recv(9)
            lab.link_up(host)
        sender.send(b"two")
        receiver.settimeout(SOON_S)
        assert receiver.recv(9) == b"two"


def test_a_link_takes_another_rate() -> None:
    with Lab(parse_network("2 x 50mbit, 1ms")) as lab:
        lab.set_rate(1, 1e6)
        with connected(lab, 0, 1) as (sender, receiver):
            start_s = time.monotonic()
            sender.sendall(bytes(300_000))
            left = 300_000
            while left:
                left -= len(receiver.recv(1 << 20))
            assert time.monotonic() - start_s > 0.2


def relays_of(pid: int) -> list[int]:
    """The processes that carry frames for the lab of the process `pid`."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in children for child in file.read_text().split()]
    return [it for it in pids if b"firetree.lab.relay" in Path(f"/proc/{it}/cmdline").read_bytes()]


def test_the_relay_ends_with_its_lab() -> None:
    with Lab(parse_network("2 x 50mbit, 1ms")):
        [relay] = relays_of(os.getpid())
    assert not Path(f"/proc/{relay}").exists()


def test_the_relay_ends_when_its_lab_is_killed() -> None:
    told, tell = os.pipe()
    owner = os.fork()
    if not owner:  # pragma: no cover
        with Lab(parse_network("2 x 50mbit, 1ms")):
            os.write(tell, b"%d" % relays_of(os.getpid())[0])
            time.sleep(60)
    relay = int(os.read(told, 20))
    end = os.pidfd_open(relay)
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    assert select.select([end], [], [], 10)[0]
    namespaces.clean()
    for descriptor in (end, told, tell):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "2 x 1gbit, 10ms",
            "latency, jitter, loss or a medium at 1 Gbit/s; a lab has them with hosts of 200 Mbit",
        ),
        ("2 x 100mbit + 1 x 100mbit:300mbit, loss 1%", "medium at 300 Mbit/s; a lab has them"),
        ("2 x 1gbit, medium 100mbit", "loss or a medium at 1 Gbit/s"),
        ("2 x 100mbit, 3s", "a latency of 3 s; a lab delays packets by 2 s at most"),
        ("2 x 100mbit, 1s, jitter 2s", "a latency of 3 s; a lab delays"),
    ],
)
def test_more_than_the_relay_can_carry_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        Lab(parse_network(text))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_latency_that_packets_take_here_anyway_is_none_of_the_labs() -> None:
    assert Lab(parse_network("2 x 1gbit, 80us")).network == Network.of_ports([125e6] * 2)
    probed = replace(parse_network("2 x 1gbit, 2ms"), machines=(Machine((0, 1), 2.0),))
    assert Lab(probed).network == replace(probed, latency_s=())
