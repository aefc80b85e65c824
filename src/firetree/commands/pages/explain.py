"""A schedule as an animation to play or to step through."""

from __future__ import annotations

import json
import math
from html import escape
from itertools import count
from pathlib import Path

from firetree.collectives.schedule import Schedule
from firetree.collectives.steps import Message, Step, steps
from firetree.commands.pages import page
from firetree.commands.text.explain import ADD, COPY, NOTE, bars_of, full_bar, headline
from firetree.errors import UserError

WIDEST_TREE = 32
DEEPEST_TREE = 8

Position = tuple[float, float]


def fragment(schedule: Schedule) -> str:
    """The page in an iframe, as its scripts and styles would affect the whole notebook."""
    try:
        whole = escape(as_page(schedule.collective, schedule))
    except UserError as error:
        return f"<p>{escape(str(error))}</p>"
    style = "width:100%;height:40em;border:0"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{whole}"></iframe>'


def as_page(name: str, schedule: Schedule) -> str:
    """The schedule as one self-contained HTML page, an animation to play or to step through.

    Attributes hold the page's state: `data-step` of the body, `data-rank` and `data-held` of every node.

    Raises:
        UserError, ScheduleError: as `steps`.
    """
    told = steps(schedule)
    data = {
        "name": name,
        "facts": headline(name, schedule, told).removeprefix(f"{name}: "),
        "add": ADD,
        "copy": COPY,
        "note": NOTE,
        "whole": full_bar(schedule),
        "positions": _positions(schedule.world_size, told),
        "steps": [_step_data(schedule, step) for step in told],
    }
    # Without `<`, the data cannot close its script element or open a comment.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = Path(__file__).with_name("explain.html").read_text(encoding="utf-8")
    return page("A schedule, step by step", [template.replace("{{data}}", text)], scripts=True)


def _step_data(schedule: Schedule, step: Step) -> dict[str, object]:
    return {
        "held": [bars_of(held) for held in step.held],
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


def _positions(world_size: int, told: tuple[Step, ...]) -> list[Position]:
    """The position of each rank, in node widths and heights: a tree if the schedule is one, else a circle."""
    edges = {
        (m.sender, m.receiver) if m.adds else (m.receiver, m.sender)
        for step in told
        for m in step.messages
    }
    return _tree(world_size, edges) or _circle(world_size)


def _tree(world_size: int, edges: set[tuple[int, int]]) -> list[Position]:
    """Each rank below its parent; empty if the edges (child, parent) are no tree, or too large."""
    parent_of = dict(edges)
    roots = [rank for rank in range(world_size) if rank not in parent_of]
    if len(edges) != len(parent_of) or len(roots) != 1:
        return []
    positions: dict[int, Position] = {}
    columns = count()

    def set_below(rank: int, depth: int) -> float:
        children = sorted(child for child, parent in edges if parent == rank)
        below = [set_below(child, depth + 1) for child in children]
        x = (below[0] + below[-1]) / 2 if below else float(next(columns))
        positions[rank] = (x, depth)
        return x

    set_below(roots[0], 0)
    depth = max(y for _, y in positions.values())
    if len(positions) < world_size or next(columns) > WIDEST_TREE or depth > DEEPEST_TREE:
        return []
    reach = max((abs(positions[a][0] - positions[b][0]) for a, b in edges), default=0)
    # A long edge must rise steeply enough to pass above the siblings beside it.
    row = min(max(1.0, reach / 3.3), 2.2)
    return [(positions[rank][0], row * positions[rank][1]) for rank in range(world_size)]


def _circle(world_size: int) -> list[Position]:
    """From the top clockwise, with neighbours a little more than a node apart."""
    angle = 2 * math.pi / world_size
    radius = 1.2 / (2 * math.sin(angle / 2))
    return [
        (round(radius * math.sin(angle * rank), 3), round(-radius * math.cos(angle * rank), 3))
        for rank in range(world_size)
    ]
