"""A schedule shown to a person, step by step: as text, and as one animated HTML page.

`steps` is the data behind both. Nothing is proved or timed here (see `collectives.proof` and
`network`), so any schedule that does not wait for itself can be shown.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from firetree.collectives.graph import Transfer, applied, build_graph, moved
from firetree.collectives.schedule import Schedule, busiest_sent_chunks
from firetree.errors import UserError

MOST_RANKS = 64
MOST_TRANSFERS = 4000
MOST_TRANSFERS_IN_TEXT = 200
MOST_BARS = 16
WIDEST_TREE = 32
DEEPEST_TREE = 8
TEXT_COLUMNS = 96
LABEL_COLUMNS = 10

ADD = "the receiver adds what arrives to its own chunk: sums grow"
COPY = "the receiver puts what arrives in place of its own chunk: sums spread"
NOTE = "Each transfer is in the earliest step it can be in; a rank may do several in one step."
MARKS = "▁▂▃▄▅▆▇█"

Place = tuple[float, float]


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """One chunk on its way from a rank to another.

    `carries` names the ranks whose contributions are in it. It `waits` where the receiver adds it
    in a later step only, after what comes before it in the chunk's order.
    """

    sender: int
    receiver: int
    chunk: int
    adds: bool
    carries: tuple[int, ...]
    waits: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What moves in one step, and `held[rank][chunk]` after it: how many ranks' contributions."""

    number: int
    messages: tuple[Message, ...]
    held: tuple[tuple[int, ...], ...]


def steps(schedule: Schedule) -> tuple[Step, ...]:
    """Step 0, in which nothing has moved, then each transfer as early as its dependencies allow.

    Only dependencies count: a rank may send and receive several messages in one step.

    Raises:
        UserError: more ranks or transfers than can be looked at.
        ScheduleError: the schedule is malformed or waits for itself.
    """
    _refuse_crowds(schedule)
    graph = build_graph(schedule)
    held = [[1 << rank] * schedule.chunks for rank in range(schedule.world_size)]
    in_flight: dict[int, int] = {}
    found = [Step(0, (), _count(held))]
    in_steps = sorted(graph.order, key=graph.level.__getitem__)
    for number, events in groupby(in_steps, key=graph.level.__getitem__):
        messages = []
        for event in events:
            index = event // 2
            transfer = graph.transfers[index]
            if event == moved(index):
                in_flight[index] = held[transfer.sender][transfer.chunk]
                waits = graph.level[applied(index)] > number
                messages.append(_message(transfer, in_flight[index], waits))
            else:
                kept = held[transfer.receiver][transfer.chunk] if transfer.reduces else 0
                held[transfer.receiver][transfer.chunk] = kept | in_flight.pop(index)
        found.append(Step(number, tuple(sorted(messages)), _count(held)))
    return tuple(found)


def _message(transfer: Transfer, ranks: int, waits: bool) -> Message:
    sender, receiver = transfer.sender, transfer.receiver
    carries = tuple(rank for rank in range(ranks.bit_length()) if ranks >> rank & 1)
    return Message(sender, receiver, transfer.chunk, transfer.reduces, carries, waits)


def _count(held: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ranks.bit_count() for ranks in chunks) for chunks in held)


def _refuse_crowds(schedule: Schedule) -> None:
    transfers = sum(map(len, schedule.programs)) // 2
    if schedule.world_size > MOST_RANKS or transfers > MOST_TRANSFERS:
        raise UserError(
            f"{transfers} transfers between {schedule.world_size} ranks are too many to look at; "
            f"expected at most {MOST_TRANSFERS} between {MOST_RANKS}: "
            "ask for a smaller world size or fewer chunks"
        )


def explain_text(name: str, schedule: Schedule) -> str:
    """The schedule in lines of 100 columns at most: what moves in each step, what is held after it.

    Raises:
        UserError, ScheduleError: as `steps`.
    """
    told = steps(schedule)
    lines = [
        _headline(name, schedule, told),
        NOTE,
        "  a ─(c)→ b     rank a sends chunk c to rank b",
        f"  add           {ADD}",
        f"  copy          {COPY}",
        "  ▁ few … █ all of the ranks' contributions are in a chunk that the rank holds",
        "",
    ]
    left = sum(len(step.messages) for step in told)
    enough = left - MOST_TRANSFERS_IN_TEXT
    for step in told:
        if 0 < left <= enough:
            rest = len(told) - step.number
            lines.append(f"\n… and {left} more transfers in {rest} more steps: see the HTML page")
            break
        left -= len(step.messages)
        if step.messages:
            lines += ["", _filled(f"step {step.number}", [_arrow(m) for m in step.messages])]
        lines.append(_filled("held" if step.messages else "at first", _holdings(schedule, step)))
    return "\n".join(lines)


def _headline(name: str, schedule: Schedule, told: tuple[Step, ...]) -> str:
    transfers = sum(len(step.messages) for step in told)
    sent = busiest_sent_chunks(schedule) / schedule.chunks
    counts = (
        _number(schedule.world_size, "rank"),
        _number(schedule.chunks, "chunk"),
        _number(len(told) - 1, "step"),
        _number(transfers, "transfer"),
    )
    return f"{name}: {', '.join(counts)}; the busiest rank sends {sent:.3g} × the buffer"


def _number(how_many: int, what: str) -> str:
    return f"{how_many} {what}{'' if how_many == 1 else 's'}"


def _filled(label: str, pieces: list[str]) -> str:
    width = max(map(len, pieces)) + 3
    a_line = max(1, (TEXT_COLUMNS - LABEL_COLUMNS) // width)
    rows = [
        "".join(piece.ljust(width) for piece in pieces[first : first + a_line]).rstrip()
        for first in range(0, len(pieces), a_line)
    ]
    return label.ljust(LABEL_COLUMNS) + ("\n" + " " * LABEL_COLUMNS).join(rows)


def _arrow(message: Message) -> str:
    what = "copy" if not message.adds else "add later" if message.waits else "add"
    return f"{message.sender} ─({message.chunk})→ {message.receiver} {what}"


def _holdings(schedule: Schedule, step: Step) -> list[str]:
    whole = _whole(schedule)
    rows = []
    for rank, held in enumerate(step.held):
        bars = _bars(held)
        marks = "".join(MARKS[share * (len(MARKS) - 1) // whole] for share in bars)
        rows.append(f"{rank} {marks}" + (f" {bars[0]}/{whole}" if len(bars) == 1 else ""))
    return rows


def _bars(held: tuple[int, ...]) -> tuple[int, ...]:
    """One number a chunk, or one for all of them where so many could not be told apart."""
    return held if len(held) <= MOST_BARS else (sum(held),)


def _whole(schedule: Schedule) -> int:
    """The number at which a bar is full."""
    return schedule.world_size * (1 if schedule.chunks <= MOST_BARS else schedule.chunks)


def explain_html(name: str, schedule: Schedule) -> str:
    """The schedule as one HTML page that needs nothing else: a picture to play or to step through.

    The page shows its state: `data-step` of the body, `data-rank` and `data-held` (a number a
    chunk, or one for all beyond 16 chunks) of every node.

    Raises:
        UserError, ScheduleError: as `steps`.
    """
    told = steps(schedule)
    data = {
        "name": name,
        "facts": _headline(name, schedule, told).removeprefix(f"{name}: "),
        "add": ADD,
        "copy": COPY,
        "note": NOTE,
        "whole": _whole(schedule),
        "places": _places(schedule.world_size, told),
        "steps": [_step_data(schedule, step) for step in told],
    }
    # No tag can begin in the data, so none can end its element or open a comment.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = Path(__file__).with_name("explain.html").read_text(encoding="utf-8")
    return template.replace("{{data}}", text)


def _step_data(schedule: Schedule, step: Step) -> dict[str, object]:
    return {
        "held": [_bars(held) for held in step.held],
        "messages": [
            {
                "sender": message.sender,
                "receiver": message.receiver,
                "chunk": message.chunk,
                "adds": message.adds,
                "words": _sentence(message, schedule.world_size),
            }
            for message in step.messages
        ],
    }


def _sentence(message: Message, world_size: int) -> str:
    what = f"chunk {message.chunk}"
    if message.carries == (message.sender,):
        what = f"its own {what}"
    elif len(message.carries) == 1:
        what = f"{what} of rank {message.carries[0]}"
    elif len(message.carries) == world_size:
        what = f"the full sum of {what}"
    else:
        what = f"its sum of {what} ({len(message.carries)} of {world_size} ranks)"
    verb = "adds it" if message.adds else "puts it in place of its own"
    later = " in a later step, when its turn comes" if message.waits else ""
    return f"Rank {message.sender} sends {what} to rank {message.receiver}, which {verb}{later}."


def _places(world_size: int, told: tuple[Step, ...]) -> list[Place]:
    """Where each rank stands, in widths and heights of a node: in a tree if it is one, or a circle."""
    edges = {
        (m.sender, m.receiver) if m.adds else (m.receiver, m.sender)
        for step in told
        for m in step.messages
    }
    return _tree(world_size, edges) or _circle(world_size)


def _tree(world_size: int, edges: set[tuple[int, int]]) -> list[Place]:
    """Each rank below its parent if the edges (child, parent) are a tree that fits; or nothing."""
    parent_of = dict(edges)
    roots = [rank for rank in range(world_size) if rank not in parent_of]
    if len(edges) != len(parent_of) or len(roots) != 1:
        return []
    places: dict[int, Place] = {}
    columns = count()

    def place(rank: int, depth: int) -> float:
        children = sorted(child for child, parent in edges if parent == rank)
        below = [place(child, depth + 1) for child in children]
        x = (below[0] + below[-1]) / 2 if below else float(next(columns))
        places[rank] = (x, depth)
        return x

    place(roots[0], 0)
    depth = max(y for _, y in places.values())
    if len(places) < world_size or next(columns) > WIDEST_TREE or depth > DEEPEST_TREE:
        return []
    reach = max((abs(places[a][0] - places[b][0]) for a, b in edges), default=0)
    # A long edge must rise steeply enough to pass above the siblings beside it.
    row = min(max(1.0, reach / 3.3), 2.2)
    return [(places[rank][0], row * places[rank][1]) for rank in range(world_size)]


def _circle(world_size: int) -> list[Place]:
    """From the top clockwise, with neighbours a little more than a node apart."""
    angle = 2 * math.pi / world_size
    radius = 1.2 / (2 * math.sin(angle / 2))
    return [
        (round(radius * math.sin(angle * rank), 3), round(-radius * math.cos(angle * rank), 3))
        for rank in range(world_size)
    ]
