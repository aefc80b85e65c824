"""A probe's page: colours mean the same on every page, and what is a lower limit is marked."""

from __future__ import annotations

import re

import pytest

from firetree.commands.pages.probe import colour, fragment
from firetree.network import parse_network
from firetree.probing import Probe

pytest.importorskip("jinja2", reason="needs the extra pages")


def colours_of(network: str, rate: str) -> set[str]:
    """The colours of the cells with this rate."""
    page = fragment(Probe(parse_network(network)))
    return {*re.findall(rf'<td style="background:(#\w+)"[^>]*>{rate}</td>', page)}


def test_a_rate_has_one_colour_whatever_the_others_are() -> None:
    slow, beside_fast = colours_of("12 x 30mbit", "30"), colours_of("3 x 1gbit + 1 x 30mbit", "30")
    assert slow == beside_fast == {colour(30)}
    assert colours_of("3 x 1gbit + 1 x 30mbit", "1000") == {colour(1000)}


def test_slow_is_red_and_fast_is_blue_also_beyond_the_scale() -> None:
    red, _, blue = (int(colour(0.01)[at : at + 2], 16) for at in (1, 3, 5))
    assert red > blue
    red, _, blue = (int(colour(1e6)[at : at + 2], 16) for at in (1, 3, 5))
    assert blue > red
    assert colour(0.01) == colour(1)
    assert len({colour(10.0**power) for power in range(5)}) == 5


def test_a_page_has_the_remark_and_marks_lower_limits() -> None:
    found = Probe(parse_network("3 x 100mbit"), at_least=("host 1 down",), remark="all <alike>")
    page = fragment(found)
    assert "<strong>all &lt;alike&gt;</strong>" in page
    assert page.count("≥ 100 Mbit/s") == 1
    assert "≥: at least" in page
