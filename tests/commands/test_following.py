"""`report --follow`: a job in the terminal or as lines, from its first step to its end."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from command import COMMAND, firetree
from scenes import died, made, slow_host, write_trace

from firetree.commands.text.live import Look, screen, step_line
from firetree.reporting import diagnose
from firetree.trace import Trace, add_event, append_steps


def begun(run_dir: Path, steps: int) -> Trace:
    """Write the first steps of a run, and its first events; gives all of it."""
    whole = made(slow_host(60))
    ranks = tuple(replace(rank, steps=rank.steps[:steps]) for rank in whole.ranks)
    write_trace(run_dir, Trace(ranks, whole.events[:3]))
    return whole


def finish(run_dir: Path, whole: Trace, done: int) -> None:
    """Write the rest as a run does: lines in pieces, then that it has ended."""
    for rank in whole.ranks:
        append_steps(run_dir, rank.header.rank, rank.steps[done:-1])
        path = run_dir / "trace" / f"rank-{rank.header.rank:04d}.jsonl"
        before = path.stat().st_size
        append_steps(run_dir, rank.header.rank, rank.steps[-1:])
        content = path.read_bytes()
        os.truncate(path, (before + len(content)) // 2)
        path.write_bytes(content)
    for event in whole.events[3:]:
        add_event(run_dir, event)


def following(run_dir: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, "report", run_dir, "--follow"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def lines_until(stream: IO[str] | None, beginning: str) -> list[str]:
    """The lines of a stream, up to the first that begins so."""
    assert stream
    found = [""]
    while not found[-1].startswith(beginning):
        found.append(stream.readline().rstrip("\n"))
        assert found[-1], f"the end, after {found}"
    return found[1:]


def test_lines_tell_events_steps_and_verdicts_until_the_run_ends(tmp_path: Path) -> None:
    whole = begun(tmp_path, 30)
    job = following(tmp_path)
    first = lines_until(job.stdout, "step 29  ")
    assert first[:3] == [
        "step 0  started: 4 ranks on 4 hosts",
        "step 0  probed: 6.1 s, all ports carry 940 Mbit/s",
        "step 0  planned: ring, 0.26 s a step expected",
    ]
    finish(tmp_path, whole, 30)
    out, err = job.communicate(timeout=120)
    assert (job.returncode, err) == (0, "")
    lines = out.splitlines()
    assert "step 28  slower: dora sends 94 Mbit/s, 940 expected" in lines
    assert "step 60  ended: every step done" in lines
    assert lines[-2].startswith("step 59  ")
    assert "network" in lines[-2]
    assert lines[-1] == diagnose(tmp_path, whole).verdict.sentence


def test_a_terminal_shows_ranks_and_the_verdict_and_is_left_as_it_was(tmp_path: Path) -> None:
    write_trace(tmp_path, made(slow_host(60)))
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"}
    job = subprocess.Popen(
        [*COMMAND, "report", tmp_path, "--follow"], stdout=theirs, stderr=theirs, env=environ
    )
    os.close(theirs)
    shown = read_all(ours)
    assert job.wait(120) == 0
    for words in ("rank 3 on dora", "step time", "holds the run back", "ended: every step done"):
        assert words in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def read_all(descriptor: int) -> str:
    """What a terminal is given until its other end is closed."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_ctrl_c_ends_it_in_one_line(tmp_path: Path) -> None:
    begun(tmp_path, 30)
    job = following(tmp_path)
    lines_until(job.stdout, "step 29  ")
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=120)
    assert (job.returncode, err) == (130, "firetree: interrupted\n")


def test_a_run_without_a_step_is_waited_for(tmp_path: Path) -> None:
    job = following(tmp_path)
    lines_until(job.stderr, "waiting for a step of all ranks")
    write_trace(tmp_path, made(slow_host(20)))
    out, err = job.communicate(timeout=120)
    assert (job.returncode, err) == (0, "")
    assert "step 20  ended: every step done" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere", "--follow"],
            "no run folder nowhere; expected the folder of a run that goes on",
        ),
        (["one", "two", "--follow"], "--follow of 2 runs; expected one"),
        (
            ["one", "--follow", "--json"],
            "--follow with --json, --html or --perfetto; expected --follow alone",
        ),
        (["one", "two", "--perfetto", "out.json"], "--perfetto of 2 runs; expected one"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    assert firetree("report", *arguments) == (2, "", f"firetree: {message}\n")


def test_a_run_that_stands_still_says_since_when_and_where_its_ranks_are(tmp_path: Path) -> None:
    trace = died(30)[1]
    look = Look(diagnose(tmp_path, trace), trace, 42.0)
    shown = screen(look).plain
    assert "no step has ended for 42 s" in shown
    assert "forward for 60 s" in shown
    assert step_line(look).endswith("none has ended for 42 s")


def test_names_from_outside_cannot_steer_the_terminal(tmp_path: Path) -> None:
    trace = made(slow_host(30))
    hosts = tuple(
        replace(rank, header=replace(rank.header, host="\x1b[2J\u202e", script="[red]\x07"))
        for rank in trace.ranks
    )
    trace = replace(trace, ranks=hosts)
    shown = screen(Look(diagnose(tmp_path, trace), trace, 0.0)).plain
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "rank 0 on \\x1b[2J\\u202e" in shown
    assert "[red]" in shown
