"""The code in README and docs runs as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from pages import LANGUAGES, PAGES, blocks, files, of
from ranks import run_on_ranks
from torch.nn.parallel import DistributedDataParallel

import firetree

NOT_RUN = {
    "README.md": 3,
    "docs/any-script.md": 1,
    "docs/attach.md": 2,
    "docs/fast-weights.md": 1,
    "docs/is-a-second-machine-worth-it.md": 5,
    "docs/launching.md": 4,
    "docs/training.md": 1,
    "docs/why-slower.md": 1,
}
"""Blocks that tests do not run, each with its reason beside it; nobody adds to them unseen."""


def pages_with(language: str, needs_root: bool = False) -> list[str]:
    return [p for p in PAGES if any(it.needs_root == needs_root for it in of(p, language))]


def test_blocks_that_are_not_run_are_counted_here() -> None:
    assert Counter(p for p in PAGES for it in blocks(p) if it.is_skipped) == NOT_RUN


@pytest.mark.parametrize("page", PAGES)
def test_each_block_has_a_language_and_each_comment_a_meaning(page: str) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES
        assert block.is_skipped or block.needs_root or not block.comment
    assert PAGES[page].read_text(encoding="utf-8").count("\n```") == 2 * len(blocks(page))


TAKES_LONG = {
    **dict.fromkeys(
        (
            "docs/training.md",
            "docs/language-models.md",
            "docs/why-slower.md",
            "docs/small-models.md",
        ),
        pytest.mark.slow,
    ),
    **{f"by_{name}.py": pytest.mark.slow for name in ("lightning", "accelerate", "trainer")},
}


@pytest.mark.parametrize(
    "page", [pytest.param(it, marks=TAKES_LONG.get(it, ())) for it in pages_with("python")]
)
def test_python_runs_from_top_to_bottom(page: str, here: Path) -> None:
    code = {True: "", False: ""}
    for block in of(page, "python"):
        code["DistributedDataParallel" in block.code] += block.code
    (here / "page.py").write_text(code[False])
    run([sys.executable, "page.py"], here)
    if code[True]:
        run_on_ranks(2, in_a_users_script, code[True], here)


SCRIPTS = [
    pytest.param(p, name, marks=TAKES_LONG.get(name, ()))
    for p in PAGES
    for name, code in files(p).items()
    if "init_process" in code or "import firetree" in code
]


@pytest.mark.parametrize(("page", "name"), SCRIPTS)
def test_a_script_runs_under_torchrun(page: str, name: str, here: Path) -> None:
    (here / name).write_text(files(page)[name])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run([*torchrun, "--nproc-per-node", "2", name], here)


def in_a_users_script(code: str, folder: Path) -> None:
    """Run code that begins where a script has its process group and its network."""
    namespace = {
        "torch": torch,
        "firetree": firetree,
        "DistributedDataParallel": DistributedDataParallel,
        "net": torch.nn.Linear(8, 2),
        "path": folder,
    }
    exec(f"import os\nos.chdir(path)\n{code}", namespace)
    model = namespace["model"]
    assert isinstance(model, DistributedDataParallel)
    model(torch.ones(4, 8)).sum().backward()


@pytest.mark.parametrize(
    "page", [pytest.param(it, marks=TAKES_LONG.get(it, ())) for it in pages_with("")]
)
def test_commands_run_in_order(page: str, here: Path, commands: dict[str, str]) -> None:
    run_shell(page, here, commands, needs_root=False)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    "page",
    [pytest.param(it, marks=TAKES_LONG.get(it, ())) for it in pages_with("", needs_root=True)],
)
def test_commands_of_root_run_in_order(page: str, here: Path, commands: dict[str, str]) -> None:
    run_shell(page, here, commands, needs_root=True)


def run_shell(page: str, here: Path, commands: dict[str, str], needs_root: bool) -> str:
    """Run a page's commands in order; gives what they print."""
    write_files(page, here)
    code = "".join(block.code for block in of(page, "") if block.needs_root == needs_root)
    return run(["sh", "-e", "-c", code], here, commands)


@pytest.mark.parametrize("page", pages_with("console"))
def test_a_command_prints_what_is_shown(page: str, here: Path, commands: dict[str, str]) -> None:
    write_files(page, here)
    for block in of(page, "console"):
        command, _, shown = block.code.partition("\n")
        printed = run(["sh", "-c", command.removeprefix("$ ")], here, commands)
        pattern = re.escape(shown).replace("…", ".*")
        assert re.fullmatch(pattern, printed, re.DOTALL), printed


def write_files(page: str, here: Path) -> None:
    for name, code in files(page).items():
        (here / name).write_text(code)


def run(command: list[str], folder: Path, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
