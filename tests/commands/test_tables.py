"""Tables for a terminal: cells as they are, however long, in columns."""

from __future__ import annotations

import pytest

from firetree.commands.tables import as_text


@pytest.mark.parametrize(
    "cell",
    ["2001:db8:a:b::1", ":smile:", "[bold]", "x" * 1_000, " ".join(["word"] * 300), "東京" * 200],
)
def test_a_cell_stays_as_it_is(cell: str) -> None:
    assert as_text(("way", "step"), [(cell, "1")], left=("way",)).splitlines()[1] == f"{cell}     1"
    assert as_text((cell,), []) == cell


def test_columns_end_right_unless_they_are_left() -> None:
    assert (
        as_text(("way", "step"), [("ring", "80 ms")], left=("way",)) == "way    step\nring  80 ms"
    )
