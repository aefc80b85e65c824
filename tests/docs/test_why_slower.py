"""The page "Why is my second machine slower?" gives the answer that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import of
from test_code_blocks import run_shell

PAGE = "docs/why-slower.md"


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_the_slow_host_is_found_in_a_script_that_knows_nothing_of_firetree(
    here: Path, commands: dict[str, str]
) -> None:
    said = " ".join(run_shell(PAGE, here, commands, needs_root=True).split())
    [shown] = of(PAGE, "text")
    numbers = re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", re.escape(" ".join(shown.code.split())))
    answer = numbers.replace("Host\\ [\\d.]+", "Host\\ 2")
    assert len(re.findall(answer, said)) == 1, (
        "from the report; that of the run goes to standard error"
    )
