"""Rank 0's side: which hosts take part, what each is asked, and who no longer answers.

Every step has a limit. A host that has not answered by then, whatever befell it, is left out from
there on, and the others go on.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mode
from typing import Any

from firetree.probing.greeting import greeted
from firetree.probing.meeting import Meeting

GRACE_S = 3.0
"""How much later than a step's own limit an answer may come: a busy host is not a lost one."""
_WORD_EVERY_S = 5.0
_SEND_S = 2.0

Command = dict[str, Any]
Answers = dict[int, dict[str, Any]]


@dataclass(slots=True)
class Member:
    """A host that takes part."""

    rank: int
    stream: socket.socket
    address: str
    port: int
    machine: str
    cores: int
    heard_of_us_s: float = 0.0
    text: bytearray = field(default_factory=bytearray)


class Team:
    """The hosts that answer; `members` shrinks when one does not."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.members: dict[int, Member] = {}
        self._number = 0
        self._faces: list[str] = []

    def gather(self, listener: socket.socket, meeting: Meeting, limit_s: float) -> None:
        """Wait until every host has come, or `limit_s` has passed."""
        for stream, token in greeted(listener, len(meeting.token), limit_s):
            with contextlib.suppress(OSError, ValueError, KeyError):
                if token == meeting.token:
                    self._admit(stream, meeting)
                else:
                    stream.close()
            if len(self.members) == self.world_size:
                break
        if 0 in self.members and self._faces:
            # What rank 0 reaches itself by may be an address that is no use to others.
            self.members[0].address = mode(self._faces)

    def _admit(self, stream: socket.socket, meeting: Meeting) -> None:
        stream.settimeout(_SEND_S)
        stream.sendall(meeting.token[::-1])
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with stream.makefile("rb") as file:
            told = json.loads(file.readline())
        if told["rank"] != 0:
            self._faces.append(stream.getsockname()[0].removeprefix("::ffff:"))  # IPv4 over IPv6
        where = told["address"], told["port"]
        member = Member(told["rank"], stream, *where, told["machine"], told["cores"])
        self.members[member.rank] = member

    def lost(self) -> tuple[int, ...]:
        """The ranks that do not take part, or no longer."""
        return tuple(rank for rank in range(self.world_size) if rank not in self.members)

    def ask(self, commands: Mapping[int, Command], limit_s: float) -> Answers:
        """Give each host its command at once; the answers of those that gave one in time."""
        self._number += 1
        asked = [rank for rank in commands if rank in self.members]
        for rank in asked:
            self._tell(rank, {"number": self._number, "limit_s": limit_s, **commands[rank]})
        answers = self._listen([rank for rank in asked if rank in self.members], limit_s + GRACE_S)
        for rank in asked:
            if rank not in answers:
                self._leave_out(rank)
        self._keep_in_touch()
        return answers

    def end(self, command: Command) -> None:
        """Give everyone the last command."""
        for rank in [*self.members]:
            self._tell(rank, command)

    def close(self) -> None:
        """Close all connections."""
        for member in self.members.values():
            member.stream.close()

    def _listen(self, waiting: list[int], limit_s: float) -> Answers:
        answers: Answers = {}
        end_s = time.monotonic() + limit_s
        with selectors.DefaultSelector() as arriving:
            for rank in waiting:
                arriving.register(self.members[rank].stream, selectors.EVENT_READ, rank)
            while arriving.get_map() and (left_s := end_s - time.monotonic()) > 0:
                for key, _ in arriving.select(left_s):
                    done, reply = self._read(self.members[key.data])
                    if done:
                        arriving.unregister(key.fileobj)
                    if reply is not None:
                        answers[key.data] = reply
        return answers

    def _read(self, member: Member) -> tuple[bool, dict[str, Any] | None]:
        """Take in what has arrived: whether there is nothing to wait for, and the answer if so."""
        try:
            part = member.stream.recv(1 << 16)
        except OSError:
            part = b""
        member.text += part
        if not part:
            return True, None
        if not member.text.endswith(b"\n"):
            return False, None
        reply = json.loads(member.text)
        member.text.clear()
        return (True, reply) if reply["number"] == self._number else (False, None)

    def _tell(self, rank: int, command: Command) -> None:
        member = self.members[rank]
        try:
            member.stream.settimeout(_SEND_S)
            member.stream.sendall(json.dumps(command).encode() + b"\n")
            member.heard_of_us_s = time.monotonic()
        except OSError:
            self._leave_out(rank)

    def _keep_in_touch(self) -> None:
        now_s = time.monotonic()
        for rank, member in [*self.members.items()]:
            if now_s - member.heard_of_us_s > _WORD_EVERY_S:
                self._tell(rank, {"do": "wait"})

    def _leave_out(self, rank: int) -> None:
        if member := self.members.pop(rank, None):
            member.stream.close()


Show = Callable[[str], None]
"""Takes a line that says what is being done."""
