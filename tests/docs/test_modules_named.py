"""Every file and folder that the documentation of the inside names is there."""

from __future__ import annotations

import re

import pytest
from pages import PAGES, ROOT

SOURCE = ROOT / "src" / "firetree"
INSIDE = [
    page
    for page in PAGES
    if page in ("docs/glossary.md", "docs/architecture.md") or "/internals/" in page
]


def named(page: str) -> list[str]:
    """Code spans that are a Python file or a folder."""
    spans = re.findall(r"`([^`\s]+)`", PAGES[page].read_text(encoding="utf-8"))
    return [span for span in spans if re.fullmatch(r"[\w/]+(\.py|/)", span)]


@pytest.mark.parametrize("page", INSIDE)
def test_what_is_named_exists(page: str) -> None:
    missing = [it for it in named(page) if not any(SOURCE.rglob(it)) and not (ROOT / it).exists()]
    assert missing == []


def test_the_map_has_every_folder() -> None:
    folders = {f"{path.parent.name}/" for path in SOURCE.glob("*/__init__.py")}
    assert folders - {*named("docs/architecture.md")} == set()


def test_terms_stand_in_order() -> None:
    text = PAGES["docs/glossary.md"].read_text(encoding="utf-8")
    terms = [row.strip(".`").lower() for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)]
    assert terms[1:] == sorted(terms[1:])
