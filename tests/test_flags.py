"""The library speaks of arguments; only `firetree.commands` knows the command's flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import firetree

_FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w.-]*")

EXPECTED = {
    "environment.py": {"--always", "--dirty", "--abbrev"},  # git's
    "reporting/standstill.py": {"--pid"},  # py-spy's
    # What a report tells its reader to type; test_diagnosis_commands has it parsed.
    "reporting/again.py": {"--sync", "--compression", "--plan", "--sync.compression"},
    "reporting/learning.py": {"--optim.", "--find-lr", "--optim.patience", "--trust"},
}


def flags(file: Path) -> Iterator[str]:
    """Flags in the file's texts, docstrings too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _FLAG.findall(node.value)


def test_no_text_below_commands_names_a_flag() -> None:
    package = Path(firetree.__file__).parent
    found = {}
    for file in package.rglob("*.py"):
        name = str(file.relative_to(package))
        own = {*flags(file)} - EXPECTED.get(name, set())
        if own and not name.startswith("commands/"):
            found[name] = own
    assert found == {}
