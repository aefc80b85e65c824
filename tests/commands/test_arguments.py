"""Options that cannot be read end in one line that says what was expected."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from firetree.commands.arguments import parse
from firetree.errors import UserError


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    workers: int | None = None
    """How many."""
    rate: float = 1.0
    """How fast."""
    seed: int = 0
    """Where from."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers=x"], "--workers is x; expected a whole number"),
        (["--workers", "2.5"], "--workers is 2.5; expected a whole number"),
        (["--seed", "it's"], "--seed is it's; expected a whole number"),
        (["--rate", "fast"], "--rate is fast; expected a number"),
        (["--seed"], "--seed has no value; expected one"),
        (["--sed", "1"], "unknown option '--sed'; did you mean '--seed'?"),
        (["--seed", "1", "2"], "'2' is one argument too many; see firetree it --help"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(Options, "firetree it", arguments)
    assert str(refusal.value) == message


def test_right_values_are_read() -> None:
    assert parse(Options, "firetree it", ["--workers=2", "--rate", "1e3"]) == Options(2, 1000.0)
