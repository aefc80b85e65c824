"""Names of classes that people take for one: they differ in case, blanks, or how Unicode writes an accent."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """The names that look alike, together, each so that its difference shows."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_look(name)].append(name)
    return [_told(alike) for alike in found.values() if len(alike) > 1]


def hint(unknown: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: those that look like it, if any."""
    alike = [name for name in names if _look(name) == _look(unknown)]
    if not alike:
        return ""
    other, *same = _told([unknown, *alike])
    return f"; {other} looks like {' and '.join(same)}, but is another name"


def _look(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _told(alike: Sequence[str]) -> list[str]:
    """In ASCII where two are the same but for how their letters are made up."""
    composed = {unicodedata.normalize("NFC", name) for name in alike}
    return [*map(repr if len(composed) == len(alike) else ascii, alike)]
