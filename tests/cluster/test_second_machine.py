"""The page that takes a person from nothing to an answer works as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from firetree.network import Network
from firetree.planning.plan import load_plan

PAGE = Path(__file__).parents[2] / "docs" / "is-a-second-machine-worth-it.md"
COMMANDS = re.findall(r"^```\n(firetree .*?)\n```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_five_commands_lead_to_an_answer(tmp_path: Path) -> None:
    assert len(COMMANDS) == 5
    outputs = [run(command, tmp_path) for command in COMMANDS]
    slow = Network.load(str(tmp_path / "network.json")).hosts[3]
    assert slow.up_bytes_s == pytest.approx(6.25e6, rel=0.1)
    assert "host 3" in outputs[0]
    assert "next: firetree plan --network network.json --model MODEL" in outputs[0]
    assert load_plan(tmp_path / "plan.json").world_size == 3
    assert "leave out host 3: " in outputs[1]
    assert "off by" in outputs[2]
    assert (tmp_path / "runs" / "planned" / "metrics.jsonl").exists()


def run(command: str, folder: Path) -> str:
    """Run a command as a shell would, with this interpreter's firetree."""
    words = [
        part
        for word in shlex.split(command)
        for part in ([sys.executable, "-m", "firetree"] if word == "firetree" else [word])
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout
