"""Valid files changed a little, as damage, other programs and attackers change them.

Each function takes the file's bytes and a source of dice and gives the bytes of one changed file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

from firetree.modelfiles.fire.container import frame, unframe
from firetree.modelfiles.fire.fire import TAGS

Mutate = Callable[[bytes, Random], bytes]

_ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        255,
        65_536,
        2**31,
        2**63,
        10**30,
        10**400,
        0.5,
        -0.0,
        1e308,
    ),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "0",
        "nan",
        "\x1b[2J",
        "\0",
        "\ud800",
        "é" * 3_000,
        "a\nb",
    ),
    *([], {}, [[]], {"x": 1}, [0] * 3_000, [None], {"version": 1}),
)
_ODD_WORDS = (
    *(b"9" * 5_000, b"0x" + b"f" * 4_000, b"-1", b"0", b"nan", b"inf", b"1e999", b"true", b"''"),
    *(
        b"[" * 5_000,
        b"{" * 5_000,
        b'"',
        b"\xff",
        b"\0",
        b"\x1b[2J",
        b"\n",
        b"\r",
        b"\t",
        b"a.b.c",
        b"1:2",
    ),
    *("\u2028 \u202e".encode(), b"= =", b"[x]", b"", b"x" * 9_000, b"1_000", b"1979-05-27", b" x "),
)


def damaged(content: bytes, dice: Random) -> bytes:
    """A bit flipped, the end cut off, bytes made huge, lost, doubled, or made up; half near the front."""
    front = dice.random() < 0.5
    place = dice.randrange(max(1, min(len(content), 4096) if front else len(content)))
    changing, length = bytearray(content), dice.choice((1, 2, 4, 8, 64))
    match dice.randrange(6) if content else 5:
        case 0:
            changing[place] ^= 1 << dice.randrange(8)
        case 1:
            del changing[place:]
        case 2:
            changing[place : place + 4] = b"\xff" * 4
        case 3:
            del changing[place : place + length]
        case 4:
            changing[place:place] = changing[place : place + length]
        case _:
            changing[place : place + length] = dice.randbytes(length)
    return bytes(changing)


def text(content: bytes, dice: Random) -> bytes:
    """Lines lost, doubled or swapped, words replaced by odd ones, and bytes damaged."""
    if dice.random() < 0.2:
        return damaged(content, dice)
    lines = content.split(b"\n")
    a, b = dice.randrange(len(lines)), dice.randrange(len(lines))
    match dice.randrange(5):
        case 0:
            del lines[a]
        case 1:
            lines[a], lines[b] = lines[b], lines[a]
        case 2:
            lines[a:a] = [lines[b]]
        case _:
            words = lines[a].split(b" ")
            words[dice.randrange(len(words))] = dice.choice(_ODD_WORDS)
            lines[a] = b" ".join(words)
    return b"\n".join(lines)


def json_text(content: bytes, dice: Random) -> bytes:
    """A value of another type or range, a field lost, renamed, swapped or repeated; or as `text`."""
    if dice.random() < 0.2:
        return text(content, dice)
    document = json.loads(content)
    places = [*_places(document)]
    if not places:
        return text(content, dice)
    holder, key = dice.choice(places)
    match dice.randrange(8):
        case 0:
            del holder[key]
        case 1:
            other, name = dice.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        case 2 if isinstance(holder, dict):
            holder[dice.choice(("x", "é", "version", key.upper(), ""))] = holder.pop(key)
        case 3 if isinstance(holder, list):
            holder[key:key] = [holder[key]] * dice.choice((1, 2, 30))
        case 4 if type(holder[key]) in (int, float):
            holder[key] *= dice.choice((-1, 2, 1_000, 10**9, 0.5))
        case _:
            holder[key] = dice.choice(_ODD_VALUES)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _places(document: Any) -> Any:
    """Every value that can be replaced, as its holder and its key."""
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def json_lines(content: bytes, dice: Random) -> bytes:
    """One line changed as JSON, or lines as text."""
    lines = content.splitlines(keepends=True)
    if not lines or dice.random() < 0.2:
        return text(content, dice)
    place = dice.randrange(len(lines))
    lines[place] = json_text(lines[place], dice) + b"\n"
    return b"".join(lines)


def zipped(content: bytes, dice: Random) -> bytes:
    """An archive with one entry damaged and its checksum right, or damaged as a whole."""
    if dice.random() < 0.4:
        return damaged(content, dice)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(sorted(entries))
    match dice.randrange(8):
        case 0:
            del entries[name]
        case 1:
            entries[dice.choice(("x", "../x", name + ".npy"))] = entries.pop(name)
        case _:
            entries[name] = damaged(entries[name], dice)
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w") as archive:
        for entry, held in entries.items():
            archive.writestr(entry, held)
    return page.getvalue()


def safetensors(content: bytes, dice: Random) -> bytes:
    """A header changed as JSON with its length right, or damaged as a whole."""
    if dice.random() < 0.4:
        return damaged(content, dice)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json_text(content[8:end], dice)
    return len(header).to_bytes(8, "little") + header + content[end:]


def fire(content: bytes, dice: Random) -> bytes:
    """A `.fire` with one section damaged and its checksum right, or damaged as a whole."""
    if dice.random() < 0.3:
        return damaged(content, dice)
    sections = unframe(content, TAGS)
    place = dice.randrange(len(sections))
    sections[place] = damaged(sections[place], dice)
    return frame(dict(zip(TAGS, sections, strict=True)))
