"""Rank 0's side of a probe: it sends orders to hosts and collects their answers.

Every order has a time limit. A host that has not answered by then is left out from then on.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import mode
from typing import TypeVar

from firetree.documents import from_document, parse_json
from firetree.errors import UserError
from firetree.probing.greeting import greeted
from firetree.probing.orders import Introduction, Order, Replied, Wait, encode_order
from firetree.probing.rendezvous import Rendezvous
from firetree.wires import given_secret

GRACE_S = 3.0
"""How long after a step's own limit an answer may come: a busy host is not a lost one."""
_WORD_EVERY_S = 5.0
_SEND_S = 2.0

Answer = TypeVar("Answer")


@dataclass(slots=True)
class RemoteHost:
    """A host that takes part."""

    stream: socket.socket
    rank: int
    name: str
    address: str
    port: int
    machine: str
    cores: int
    interface: str
    is_wireless: bool
    heard_of_us_s: float = 0.0
    text: bytearray = field(default_factory=bytearray)


class Team:
    """The hosts that take part; `members` loses each host that does not answer."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.members: dict[int, RemoteHost] = {}
        self._number = 0
        self._faces: list[str] = []

    def gather(self, listener: socket.socket, rendezvous: Rendezvous, limit_s: float) -> None:
        """Wait until every host has come, or `limit_s` has passed."""
        for stream, token in greeted(listener, len(rendezvous.token), limit_s):
            with contextlib.suppress(OSError, UserError):
                if token == rendezvous.token:
                    self._admit(stream, rendezvous)
                else:
                    stream.close()
            if len(self.members) == self.world_size:
                break
        if 0 in self.members and self._faces:
            # The address by which rank 0 reaches itself may be useless to others.
            self.members[0].address = mode(self._faces)

    def _admit(self, stream: socket.socket, rendezvous: Rendezvous) -> None:
        stream.settimeout(_SEND_S)
        stream.sendall(rendezvous.token[::-1])
        if secret := given_secret():
            stream = secret.called(stream)
            stream.do_handshake()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with stream.makefile("rb") as file:
            introduction = parse_json(Introduction, file.readline(), "a host's introduction")
        if introduction.rank != 0:
            self._faces.append(stream.getsockname()[0].removeprefix("::ffff:"))  # IPv4 over IPv6
        self.members[introduction.rank] = RemoteHost(stream, **asdict(introduction))

    def ask(
        self, orders: Mapping[int, Order], kind: type[Answer], limit_s: float
    ) -> dict[int, Answer]:
        """Send each host its order; returns the answers that came in time.

        Raises:
            UserError: an answer of another kind.
        """
        self._number += 1
        asked = [rank for rank in orders if rank in self.members]
        for rank in asked:
            self._tell(rank, orders[rank], limit_s)
        answers = self._listen([rank for rank in asked if rank in self.members], limit_s + GRACE_S)
        for rank in asked:
            if rank not in answers:
                self._leave_out(rank)
        self._keep_in_touch()
        return {
            rank: from_document(kind, answer.fields, f"rank {rank}'s answer")
            for rank, answer in answers.items()
        }

    def end(self, order: Order) -> None:
        """Send the last order to all hosts."""
        for rank in [*self.members]:
            self._tell(rank, order)

    def close(self) -> None:
        """Close all connections."""
        for member in self.members.values():
            member.stream.close()

    def _listen(self, waiting: list[int], limit_s: float) -> dict[int, Replied]:
        answers: dict[int, Replied] = {}
        end_s = time.monotonic() + limit_s
        with selectors.DefaultSelector() as arriving:
            for rank in waiting:
                arriving.register(self.members[rank].stream, selectors.EVENT_READ, rank)
            while arriving.get_map() and (left_s := end_s - time.monotonic()) > 0:
                for key, _ in arriving.select(left_s):
                    done, answer = self._read(self.members[key.data])
                    if done:
                        arriving.unregister(key.fileobj)
                    if answer is not None:
                        answers[key.data] = answer
        return answers

    def _read(self, member: RemoteHost) -> tuple[bool, Replied | None]:
        """Read what has arrived: whether there is nothing more to wait for, and the whole answer."""
        try:
            part = member.stream.recv(1 << 16)
        except OSError:
            part = b""
        member.text += part
        if not part:
            return True, None
        if not member.text.endswith(b"\n"):
            return False, None
        answer = parse_json(Replied, bytes(member.text), f"rank {member.rank}'s answer")
        member.text.clear()
        return (True, answer) if answer.number == self._number else (False, None)

    def _tell(self, rank: int, order: Order, limit_s: float = 0.0) -> None:
        member = self.members[rank]
        try:
            member.stream.settimeout(_SEND_S)
            member.stream.sendall(encode_order(order, self._number, limit_s))
            member.heard_of_us_s = time.monotonic()
        except OSError:
            self._leave_out(rank)

    def _keep_in_touch(self) -> None:
        now_s = time.monotonic()
        for rank, member in [*self.members.items()]:
            if now_s - member.heard_of_us_s > _WORD_EVERY_S:
                self._tell(rank, Wait())

    def _leave_out(self, rank: int) -> None:
        if member := self.members.pop(rank, None):
            member.stream.close()
