"""`firetree lab` as a user runs it: a command a host, and nothing left when it ends, however."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import LIMIT_S, alive, firetree, start
from test_bench import assert_one_line, firetree_loaded

from firetree.errors import UserError
from firetree.lab import iproute, namespaces
from firetree.network import from_json, parse_network

FIRETREE = (sys.executable, "-m", "firetree")
LONG = ("sh", "-c", "sleep 300 & sleep 300 & wait")


@pytest.fixture(autouse=True)
def a_lab_can_be_here() -> None:
    try:
        iproute.require()
    except UserError as error:
        pytest.skip(str(error))


def left_by(pid: int) -> list[str]:
    """The namespaces of the lab that the process `pid` set up."""
    return namespaces.having(f"firetree-{pid}")


def lab(*arguments: object) -> tuple[int, str, str]:
    """Run a lab to its end, after which nothing of it is there: exit code and what it printed."""
    job = start("lab", *arguments)
    out, err = job.communicate(timeout=LIMIT_S)
    assert left_by(job.pid) == []
    return job.returncode, out, err


def test_the_command_runs_once_a_host_with_its_place_and_the_network() -> None:
    script = 'echo "$RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE" $FIRETREE_NETWORK'
    text = "1 x 200mbit + 1 x 50mbit:100mbit"
    code, out, err = lab("--network", text, "--", "sh", "-c", script)
    assert (code, err) == (0, "")
    first, second = sorted(out.splitlines(), key=lambda line: line.startswith("host 1: "))
    assert first.startswith("0/2 0/1 {")
    assert second == "host 1: 1" + first[1:]
    assert from_json(first.split(maxsplit=2)[2]) == parse_network(text)


def test_a_cpu_limit_is_told_with_how_it_is_kept() -> None:
    code, out, err = lab("--hosts", 2, "--cpu", "1=40%", "--", "echo", "here")
    assert (code, sorted(out.splitlines())) == (0, ["here", "host 1: here"])
    assert err.startswith("CPU limits: by ")


def test_the_command_keeps_options_that_are_also_ours() -> None:
    own = ("--hosts", "3", "--", "--debug", "--help")
    code, out, err = lab("--hosts", 1, "--", "echo", *own)
    assert (code, out, err) == (0, f"{' '.join(own)}\n", "")


def test_an_all_reduce_is_measured_against_the_bound_of_the_lab() -> None:
    code, out, err = lab(
        *("--hosts", 2, "--", *FIRETREE, "bench", "allreduce", "--sizes", "64kB"),
        *("--algorithms", "ring", "--repeats", "2", "--json"),
    )
    assert (code, err) == (0, "")
    rows = {row["algorithm"]: row for row in json.loads(out)}
    assert rows.keys() == {"gloo", "ring"}
    for row in rows.values():
        assert (row["world_size"], row["size_bytes"]) == (2, 64_000)
        assert row["bound_s"] == pytest.approx(64_000 / 25e6)
        assert row["ratio_to_bound"] == pytest.approx(row["median_s"] * 25e6 / 64_000)


def test_check_prints_a_line_a_link() -> None:
    code, out, err = lab("--hosts", 2, "--rate", "100mbit", "--slow", "1=20mbit:40mbit", "--check")
    assert (code, err) == (0, "")
    heading, *lines = out.splitlines()
    assert heading.split() == ["link", "asked", "measured", "off", "by"]
    assert [line.partition("bit/s")[0].split() for line in lines] == [
        ["host", "0", "up", "100", "M"],
        ["host", "0", "down", "100", "M"],
        ["host", "1", "up", "20", "M"],
        ["host", "1", "down", "40", "M"],
    ]


@pytest.mark.parametrize(
    ("arguments", "script", "ending"),
    [
        ((), "[ $RANK = 0 ] || exit 3", (1, "", "firetree: host 1 ended with code 3\n")),
        (("--fault", "0.5 kill 1"), "sleep 1; echo alive", (0, "alive\n", "")),
    ],
)
def test_a_host_that_fails_is_named_unless_a_fault_ended_it(
    arguments: tuple[str, ...], script: str, ending: tuple[int, str, str]
) -> None:
    assert lab("--hosts", 2, *arguments, "--", "sh", "-c", script) == ending


@contextmanager
def running_lab() -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A lab of two hosts, and the three processes on each; both are gone afterwards."""
    job = start("lab", "--hosts", 2, "--", *LONG)
    inside: set[int] = set()
    try:
        end_s = time.monotonic() + 30
        while len(inside := namespaces.processes(left_by(job.pid))) < 6:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < end_s, "the lab did not start in time"
            time.sleep(0.05)
        yield job, inside
    finally:
        job.kill()
        job.communicate()
        namespaces.end(left_by(job.pid))
        namespaces.remove(left_by(job.pid))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl_c", "sigterm"]
)
def test_a_signal_takes_the_lab_down_with_all_its_processes(
    number: signal.Signals, code: int
) -> None:
    with running_lab() as (job, inside):
        job.send_signal(number)
        _, err = job.communicate(timeout=10)
        assert job.returncode == code
        assert err.count("\n") <= 1, err
        assert left_by(job.pid) == []
        assert not any(map(alive, inside))


def test_clean_takes_down_what_a_killed_lab_left_and_no_living_one() -> None:
    with running_lab() as (living, inside), running_lab() as (killed, orphans):
        killed.kill()
        killed.wait()
        left = left_by(killed.pid)
        assert len(left) == 3
        assert any(map(alive, orphans))

        code, out, err = firetree("lab", "--clean")
        assert (code, err) == (0, "")
        assert {f"removed {name}" for name in left} <= set(out.splitlines())
        assert left_by(killed.pid) == []
        assert not any(map(alive, orphans))
        assert len(left_by(living.pid)) == 3
        assert all(map(alive, inside))


MISTAKES = {
    "no command": ((), "no command for the hosts; expected one after --"),
    "command without a mark": (("true",), "'true' is one argument too many"),
    "unknown command": (("--", "no-such-program"), "no command 'no-such-program'; expected"),
    "bad rate": (("--rate", "fast", "--", "true"), "rate 'fast'; expected a number and kbit"),
    "bad slow host": (("--slow", "4=1mbit", "--", "true"), "host 4 in '4=1mbit'; the hosts are 0"),
    "bad rack": (
        ("--rack", "0-x", "--uplink", "1gbit", "--", "true"),
        "host 'x' in '0-x'; expected a number from 0 to 3",
    ),
    "unknown fault": (("--fault", "2 explode 1", "--", "true"), "fault '2 explode 1'; expected"),
    "fault on no host": (("--fault", "2 kill 4", "--", "true"), "on host 4; the hosts are 0 to 3"),
    "no hosts": (("--hosts", "0", "--", "true"), "0 hosts; expected 1 to 250"),
    "too many hosts": (("--hosts", "100000", "--", "true"), "100000 hosts; expected 1 to 250"),
    "network too large": (
        ("--network", "251 x 1gbit", "--", "true"),
        "251 hosts; a lab has 250 at most",
    ),
    "network and its hosts": (
        ("--network", "2 x 1gbit", "--hosts", "3", "--", "true"),
        "--network and --hosts; expected one of them",
    ),
    "network and a rack": (
        ("--rack", "0-1", "--network", "2 x 1gbit", "--", "true"),
        "--network and --rack; expected one of them",
    ),
    "network and latency": (
        ("--network", "2 x 1gbit, 1ms", "--latency-ms", "2", "--", "true"),
        "--network and --latency-ms; expected one of them",
    ),
    "bad network": (("--network", "2 x", "--", "true"), "'2 x' in network '2 x'; expected"),
    "no file of a network": (
        ("--network", "no-such.json", "--", "true"),
        "network no-such.json cannot be read: No such file or directory",
    ),
    "fault on no host of the network": (
        ("--network", "2 x 1gbit", "--fault", "2 kill 2", "--", "true"),
        "on host 2; the hosts are 0 to 1",
    ),
    "latency below 0": (("--latency-ms", "-1", "--", "true"), "expected 0 or more"),
    "latency at a high rate": (
        ("--rate", "1gbit", "--latency-ms", "1", "--", "true"),
        "latency, jitter, loss or a medium at 1 Gbit/s; a lab has them with hosts of 200 Mbit/s at most",
    ),
    "latency, and links to measure": (
        ("--latency-ms", "1", "--check"),
        "--check and latency, jitter, loss or a medium; expected a network without them",
    ),
    "misspelt option": (
        ("--host", "2", "--", "true"),
        "unknown option '--host'; did you mean '--hosts'",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, case: str) -> None:
    arguments, message = MISTAKES[case]
    assert_one_line(*firetree_loaded(tmp_path, "lab", *arguments), message)
