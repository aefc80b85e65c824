"""The pages of the documentation, and their blocks of code.

A block's language says what it is: `python`, `toml`, `console` (a command behind `$` and its output, where
`…` stands for anything), none (shell commands), or `text`. One that begins with `# NAME.py` or `# NAME.toml`
is that file. A comment right before a block says how tests treat it, and why: `<!-- not run: REASON -->` or
`<!-- run as root -->`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "log.md"
}
LANGUAGES = ("python", "toml", "console", "", "text")
_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    comment: str

    @property
    def file(self) -> str:
        """The name of the file that the block is, if it is one."""
        found = re.match(r"# (\w+\.(py|toml))\n", self.code)
        return found[1] if found else ""

    @property
    def is_skipped(self) -> bool:
        return self.comment.startswith("not run: ")

    @property
    def needs_root(self) -> bool:
        return self.comment == "run as root"


def blocks(page: str) -> list[Block]:
    found = _BLOCK.findall(PAGES[page].read_text(encoding="utf-8"))
    return [Block(language, code, comment) for comment, language, code in found]


def of(page: str, language: str) -> list[Block]:
    """The blocks of a language that tests run, without those that are files."""
    found = [it for it in blocks(page) if it.language == language]
    return [it for it in found if not it.is_skipped and not it.file]


def files(page: str) -> dict[str, str]:
    return {it.file: it.code for it in blocks(page) if it.file}
