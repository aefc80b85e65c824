"""What ranks and the collector of their traces say to each other: a line of JSON each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firetree.documents import Count, Finite, Printable, parse_json
from firetree.errors import UserError
from firetree.trace import Event, OpenStep, as_json
from firetree.wires import Wire

MOST_LINE_BYTES = 1 << 24
_PART_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Told:
    """What a rank says: one of these, on rank 0's clock.

    A `step` comes with its `line` of the trace, which is written as it is: a step may take milliseconds.
    `is_over` takes back an earlier `now`. `asked_s` asks what rank 0's clock says. After `goodbye` nothing
    comes.
    """

    step: Count | None = None
    line: Printable = ""
    now: OpenStep | None = None
    is_over: bool = False
    event: Event | None = None
    asked_s: Finite | None = None
    goodbye: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the collector says: its clock, to the rank that asked at `asked_s`; or a line for the user."""

    asked_s: Finite = 0.0
    there_s: Finite | None = None
    text: str = ""


def line_of(offset_s: float = 0.0, /, **said: object) -> bytes:
    """A message as it travels, with values of this module's fields; moments are moved by the offset."""
    parts = (f'"{name}":{as_json(value, offset_s)}' for name, value in said.items())
    return f"{{{','.join(parts)}}}\n".encode()


class Arrivals:
    """The lines that come over a wire."""

    def __init__(self, wire: Wire):
        self.wire = wire
        self._rest = bytearray()
        self._part = memoryview(bytearray(_PART_BYTES))

    def arrived(self) -> Iterator[bytes]:
        """The lines that are here, without waiting.

        Raises:
            WireClosedError: the other end is gone; what was here before has been given.
            UserError: a line is too long.
        """
        while count := self.wire.receive(self._part):
            *whole, rest = bytes(self._part[:count]).split(b"\n")
            for part in whole:
                yield bytes(self._rest) + part
                self._rest.clear()
            self._rest += rest
            if len(self._rest) > MOST_LINE_BYTES:
                raise UserError(f"a line of over {MOST_LINE_BYTES:,} bytes")


def heard(line: bytes) -> Told:
    """What a rank says (UserError where it is no message)."""
    return parse_json(Told, line, "a message")


def answered(line: bytes) -> Reply:
    """What the collector says (UserError where it is no answer)."""
    return parse_json(Reply, line, "an answer")
