"""A rank amid collectives that is sent changed messages sums what was sent, or names who sent them."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import torch
from hostile_files import resident_bytes
from programs import ALGORITHMS
from test_over_wires import tcp_pair

from firetree import collectives
from firetree.collectives.over_wires import PIECE_BYTES, OverWires
from firetree.collectives.schedule import Operation, Schedule, chunk_bounds
from firetree.errors import CollectiveError
from firetree.wires import Mesh, Wire

MESSAGES = int(os.environ.get("FIRETREE_MESSAGES", "3000"))
"""How many the hostile rank sends; 100000 take a minute."""
AT_ONCE = 8
MOST_BYTES = 128 << 20
"""What trials at once may take, with their buffers and threads."""

HEADER = struct.Struct("=QQ")
ENDINGS = ("stays open", "closes", "resets")
ERRORS = ("out of step", "did not answer", "went away")
Messages = list[bytearray]


def flip_in_a_header(messages: Messages, dice: Random) -> None:
    message = dice.choice(messages)
    message[dice.randrange(min(HEADER.size, len(message)))] ^= 1 << dice.randrange(8)


def flip_anywhere(messages: Messages, dice: Random) -> None:
    message = dice.choice(messages)
    message[dice.randrange(len(message))] ^= 1 << dice.randrange(8)


def renumber(messages: Messages, dice: Random) -> None:
    number = dice.choice((0, 1, 2, len(messages) + 1, 1 << 63, (1 << 64) - 1))
    dice.choice(messages)[:8] = struct.pack("=Q", number)


def resize(messages: Messages, dice: Random) -> None:
    message = dice.choice(messages)
    content_bytes = max(0, len(message) - HEADER.size)
    size_bytes = dice.choice((0, abs(content_bytes - 1), content_bytes + 4, 1 << 40, (1 << 64) - 1))
    message[8:16] = struct.pack("=Q", size_bytes)


def cut_off(messages: Messages, dice: Random) -> None:
    number = dice.randrange(len(messages))
    del messages[number][dice.randint(1, len(messages[number])) :]
    if dice.random() < 0.5:
        del messages[number + 1 :]


def repeat(messages: Messages, dice: Random) -> None:
    messages.insert(dice.randrange(len(messages) + 1), bytearray(dice.choice(messages)))


def swap(messages: Messages, dice: Random) -> None:
    one, other = dice.randrange(len(messages)), dice.randrange(len(messages))
    messages[one], messages[other] = messages[other], messages[one]


def leave_out(messages: Messages, dice: Random) -> None:
    del messages[dice.randrange(len(messages))]


def interject(messages: Messages, dice: Random) -> None:
    rubbish = bytearray(dice.randbytes(dice.randint(1, 200)))
    messages.insert(dice.randrange(len(messages) + 1), rubbish)


CHANGES: tuple[Callable[[Messages, Random], None], ...] = (
    *(flip_in_a_header, flip_anywhere, renumber, resize, cut_off),
    *(repeat, swap, leave_out, interject),
)


@dataclass
class Trial:
    """What each of the others sends to a rank, which follows its program so many times."""

    schedule: Schedule
    rank: int
    hostile: int
    elements: int
    rounds: int
    messages: dict[int, Messages]
    ending: str

    @property
    def due(self) -> list[Operation]:
        """What the rank receives, in its program's order."""
        program = self.schedule.programs[self.rank]
        return [op for op in program if op.kind != "send"] * self.rounds

    @property
    def owed_bytes(self) -> int:
        """What the hostile rank is sent."""
        bounds, program = self.bounds, self.schedule.programs[self.rank]
        sent = [op.chunk for op in program if (op.kind, op.peer) == ("send", self.hostile)]
        chunks_bytes = sum(4 * (bounds[chunk + 1] - bounds[chunk]) for chunk in sent)
        return self.rounds * (HEADER.size * len(sent) + chunks_bytes)

    @property
    def bounds(self) -> list[int]:
        return chunk_bounds(self.elements, self.schedule.chunks)


def draw(dice: Random) -> Trial:
    size = dice.randint(2, 5)
    schedule = collectives.build(dice.choice(ALGORITHMS), size, dice.randint(1, 6))
    rank = dice.randrange(size)
    elements = dice.choice((dice.randrange(41),) * 20 + (dice.randrange(2_000), PIECE_BYTES // 3))
    trial = Trial(schedule, rank, -1, elements, dice.randint(1, 2), {}, dice.choice(ENDINGS))
    for op in trial.due:
        said = trial.messages.setdefault(op.peer, [])
        content = dice.randbytes(4 * (trial.bounds[op.chunk + 1] - trial.bounds[op.chunk]))
        said.append(bytearray(HEADER.pack(len(said) + 1, len(content)) + content))
    trial.hostile = dice.choice([*trial.messages])
    for change in dice.choices(CHANGES, k=dice.choice((0, 1, 1, 1, 2))):
        if trial.messages[trial.hostile]:
            change(trial.messages[trial.hostile], dice)
    return trial


def expected(trial: Trial) -> torch.Tensor | None:
    """The rank's buffer, zeros at first, after what was sent; None where a message is not the due one."""
    buffer, bounds = torch.zeros(trial.elements, dtype=torch.int32), trial.bounds
    streams = {peer: b"".join(messages) for peer, messages in trial.messages.items()}
    numbers = Counter[int]()
    for op in trial.due:
        part = buffer[bounds[op.chunk] : bounds[op.chunk + 1]]
        numbers[op.peer] += 1
        header, stream = HEADER.pack(numbers[op.peer], part.nbytes), streams[op.peer]
        end = HEADER.size + part.nbytes
        if stream[: HEADER.size] != header or len(stream) < end:
            return None
        content, streams[op.peer] = bytearray(stream[HEADER.size : end]), stream[end:]
        if content:
            sent = torch.frombuffer(content, dtype=torch.int32)
            part.add_(sent) if op.kind == "recv_reduce" else part.copy_(sent)
    return buffer


def connection() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection, which leaves nothing behind in the kernel when it is closed."""
    ends = tcp_pair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ends


def pieces(stream: bytes, dice: Random) -> Iterator[bytes]:
    begin = 0
    while begin < len(stream):
        end = begin + dice.randint(1, 100)
        yield stream[begin:end]
        begin = end


def attend(stream: socket.socket, words: Iterable[bytes], ending: str, owed_bytes: int) -> None:
    """Be another rank: say this, and listen; it closes once it has what it is owed, as ranks do."""
    with suppress(OSError):
        for piece in words:
            stream.sendall(piece)
        if ending == "resets":
            stream.close()
        while owed_bytes > 0:
            owed_bytes -= len(stream.recv(1 << 16)) or owed_bytes
        if ending == "closes":
            stream.shutdown(socket.SHUT_WR)
        while stream.recv(1 << 16):
            pass


@contextmanager
def joined(trial: Trial, dice: Random, timeout_s: float, owed_bytes: int) -> Iterator[Mesh]:
    """The rank's wires, with the others at their ends."""
    ends = {peer: connection() for peer in range(trial.schedule.world_size) if peer != trial.rank}
    wires = {peer: Wire.over(mine) for peer, (mine, _) in ends.items()}
    mesh = Mesh(trial.rank, range(trial.schedule.world_size), wires, timeout_s)
    with ThreadPoolExecutor(len(ends)) as threads, closing(mesh):
        for peer, (_, theirs) in ends.items():
            stream = b"".join(trial.messages.get(peer, []))
            part = [stream], "stays open", 0
            if peer == trial.hostile:
                part = [*pieces(stream, dice)], trial.ending, owed_bytes
            threads.submit(attend, theirs, *part)
        yield mesh
    for _, theirs in ends.values():
        theirs.close()


def carried_out(trial: Trial, mesh: Mesh) -> torch.Tensor | CollectiveError:
    carrier, buffer = (
        OverWires(trial.schedule, mesh),
        torch.zeros(trial.elements, dtype=torch.int32),
    )
    try:
        for _ in range(trial.rounds):
            carrier.carry(buffer)
    except CollectiveError as error:
        return error
    return buffer


def run(number: int) -> Counter[str]:
    """One trial: the messages that were sent, and how it ended, if as it must."""
    dice = Random(number)
    trial = draw(dice)
    due = expected(trial)
    timeout_s, owed_bytes = (0.05, 0) if due is None else (60.0, trial.owed_bytes)
    with joined(trial, dice, timeout_s, owed_bytes) as mesh:
        found = carried_out(trial, mesh)
        later = carried_out(trial, mesh) if isinstance(found, CollectiveError) else found
    if isinstance(found, CollectiveError):
        told = f"trial {number}: {found}"
        assert due is None or trial.ending == "resets", told
        assert found.peer == trial.hostile, told
        assert "chunk" in found.where, told
        assert str(later) == str(found), told
        end = next(words for words in ERRORS if words in str(found))
    else:
        assert due is not None, f"trial {number}: a sum of messages that were not due"
        assert torch.equal(found, due), f"trial {number}: another sum than of what was sent"
        end = "sum"
    return Counter({"messages": len(trial.messages[trial.hostile]), end: 1})


def tried(messages: int) -> Counter[str]:
    told, numbers = Counter[str](), itertools.count()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while told["messages"] < messages:
            for found in threads.map(run, itertools.islice(numbers, 100)):
                told += found
    return told


@pytest.mark.timeout(300 + MESSAGES // 50)
def test_changed_messages_are_summed_as_sent_or_end_in_an_error_that_names_their_sender() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before_bytes = resident_bytes("VmRSS")
    told = tried(MESSAGES)
    assert min(told[end] for end in ("sum", *ERRORS)) > MESSAGES // 200
    assert resident_bytes("VmHWM") - before_bytes < MOST_BYTES
