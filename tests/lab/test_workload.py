"""One command on all hosts: its output, its faults, and who is to blame for its end."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator

import pytest

from firetree.errors import RunFailedError, UserError
from firetree.lab import Fault, Lab, describe, require_command, run_command

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def lab(nothing_left: None) -> Iterator[Lab]:
    with Lab(describe(3, "1gbit")) as lab:
        yield lab


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_host_0_speaks_for_itself_and_the_others_by_name(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    run_command(lab, shell('echo "{\\"rank\\": $RANK}"; echo trouble >&2; printf end'))
    out, err = capfd.readouterr()
    own = ['{"rank": 0}', "end"]
    named = [f"host {host}: {line}" for host in (1, 2) for line in (f'{{"rank": {host}}}', "end")]
    assert sorted(out.splitlines()) == sorted([*named, *own])
    assert sorted(err.splitlines()) == ["host 1: trouble", "host 2: trouble", "trouble"]


def test_what_hosts_print_can_be_had_as_a_value(lab: Lab) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    run_command(lab, shell("[ $RANK = 0 ] && echo first || echo other >&2"), out=out, err=err)
    assert out.getvalue() == b"first\n"
    assert sorted(err.getvalue().splitlines()) == [
        f"host {host}: other".encode() for host in range(1, lab.network.size)
    ]


def test_whole_lines_never_interleave(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    pieces = (
        "import sys\n"
        "for line in range(200):\n"
        "    for piece in (f'{line} ', 'x' * 3000, 'y' * 3000, '.\\n'):\n"
        "        print(piece, end='', flush=True)\n"
    )
    run_command(lab, [sys.executable, "-c", pieces])
    found = [
        re.fullmatch(r"(host \d: )?(\d+) x{3000}y{3000}\.", line)
        for line in capfd.readouterr().out.splitlines()
    ]
    for mark in (None, "host 1: ", "host 2: "):
        assert [int(f[2]) for f in found if f and f[1] == mark] == [*range(200)]
    assert len(found) == 600


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("[ $RANK != 1 ] || exit 3", RunFailedError, "host 1 ended with code 3"),
        ("[ $RANK != 2 ] || exit 2", UserError, "host 2 ended with code 2"),
        ("[ $RANK != 0 ] || kill -SEGV $$", RunFailedError, "host 0 was killed by SIGSEGV"),
        ("sleep 0.$RANK; exit 7", RunFailedError, "host 0 ended with code 7"),
        (
            "[ $RANK = 1 ] && exit 3; exec sleep 60",
            RunFailedError,
            "host 1 ended with code 3; after 0.3 s more these still ran and were ended: 0, 2",
        ),
    ],
)
def test_the_first_host_to_fail_is_named(
    lab: Lab, script: str, kind: type[UserError], message: str
) -> None:
    with pytest.raises(UserError) as failure:
        run_command(lab, shell(script), grace_s=0.3)
    assert (type(failure.value), str(failure.value)) == (kind, message)


def test_a_host_that_a_fault_killed_did_not_fail(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    run_command(lab, shell("sleep 0.4; echo done"), [Fault(0.1, "kill", 2)])
    assert sorted(capfd.readouterr().out.splitlines()) == ["done", "host 1: done"]


def test_a_host_that_stays_paused_is_ended_after_the_grace(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    run_command(lab, shell("sleep 0.4; echo done"), [Fault(0.1, "pause", 0)], grace_s=0.3)
    assert sorted(capfd.readouterr().out.splitlines()) == ["host 1: done", "host 2: done"]


def test_a_host_that_is_resumed_later_is_waited_for(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    faults = [Fault(1.0, "resume", 1), Fault(0.1, "pause", 1)]
    run_command(lab, shell("sleep 0.3; echo done"), faults, grace_s=0.1)
    assert capfd.readouterr().out.splitlines()[-1] == "host 1: done"


def test_faults_strike_at_their_seconds(lab: Lab) -> None:
    start = time.monotonic()
    run_command(lab, ["sleep", "60"], [Fault(0.2 * host, "kill", host) for host in (2, 0, 1)])
    assert 0.4 <= time.monotonic() - start < 2


def test_what_a_host_leaves_running_is_not_waited_for(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    run_command(lab, shell("sleep 60 & echo started"))
    assert time.monotonic() - start < 5
    assert len(capfd.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("command", [[], ["no-such-program"], ["/etc/passwd"]])
def test_a_command_that_cannot_be_started_is_refused(command: list[str]) -> None:
    with pytest.raises(UserError, match="expected"):
        require_command(command)
