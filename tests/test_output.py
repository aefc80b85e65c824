"""What is printed cannot steer a terminal, and stays what it is otherwise."""

from __future__ import annotations

import json

import pytest

from firetree.commands.tables import as_text
from firetree.output import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\nb\tc\rd", r"a\x0ab\x09c\x0dd"),
        ("\x7f\x9b2J", r"\u007f\u009b2J"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("caf\udce9", r"caf\udce9"),
        ("[red] :smile: 東京 Zoë \u200d🏳️ a\\x1b", "[red] :smile: 東京 Zoë \u200d🏳️ a\\x1b"),
    ],
)
def test_only_signs_that_steer_a_terminal_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert as_text(("name",), [(text,)], left=("name",)).splitlines() == ["name", shown]


def test_a_page_keeps_its_lines_and_json_its_values() -> None:
    document = {"name": "\x1b[2J\x7f\x9b\u202e\n\udce9"}
    for ascii_alone in (True, False):
        page = printable(json.dumps(document, ensure_ascii=ascii_alone, indent=1), keep="\n")
        assert json.loads(page) == document
        assert not set(page) & set("\x1b\x7f\x9b\u202e\udce9")
