"""Labs with real namespaces: what a host sees, what faults do, and that nothing is left."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from firetree.errors import RunFailedError, UserError
from firetree.lab import Lab, clean, describe, namespaces, topology
from firetree.network import Network, from_json, parse_network

pytestmark = pytest.mark.usefixtures("nothing_left")

TWO = describe(2, "1gbit")
PARENT = ["sh", "-c", "sleep 60 & echo $!; wait"]
STUBBORN = ["sh", "-c", "trap '' TERM; sleep 60 & echo $!; while :; do sleep 60; done"]

RECEIVER = """
import socket
stream = socket.create_server(("", 5000)).accept()[0]
while stream.recv(1 << 20): pass
"""
SERVER = """
import socket, time
server = socket.create_server(("", 5000))
print(flush=True)
time.sleep(60)
"""
SENDER = """
import os, socket, time
while True:
    try:
        stream = socket.create_connection((os.environ["MASTER_ADDR"], 5000))
        break
    except OSError:
        time.sleep(0.02)
while True: stream.send(bytes(1 << 20))
"""


def own_a_lab(ready: Connection) -> None:
    """Be a lab's owner: tell the pid of a process that outlives its parent, and stay."""
    with Lab(TWO) as lab:
        shell = lab.start(1, PARENT, stdout=subprocess.PIPE)
        assert shell.stdout is not None
        ready.send(int(shell.stdout.readline()))
        time.sleep(60)


@pytest.fixture
def owners() -> Iterator[Callable[[], tuple[BaseProcess, int]]]:
    """Start owners of labs; each comes with the pid of a process in its lab."""
    started: list[BaseProcess] = []

    def start() -> tuple[BaseProcess, int]:
        context = multiprocessing.get_context("fork")
        ready, told = context.Pipe()
        started.append(context.Process(target=own_a_lab, args=(told,)))
        started[-1].start()
        assert ready.poll(10)
        return started[-1], ready.recv()

    yield start
    for owner in started:
        owner.kill()
        owner.join()
    clean()


def of(owner: BaseProcess) -> list[str]:
    return namespaces.having(f"firetree-{owner.pid}")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_lab_leaves_nothing_also_of_those_that_refuse_to_end() -> None:
    with Lab(TWO) as lab:
        shell = lab.start(0, STUBBORN, stdout=subprocess.PIPE)
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        lab.pause(0)
        assert len(namespaces.having(lab.namespace(0).rpartition("-")[0])) == 3
    assert shell.returncode == -signal.SIGKILL
    assert not alive(child)


def test_an_exception_inside_leaves_nothing() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def fail_inside() -> None:
        with Lab(TWO) as lab:
            started.append(lab.start(0, ["sleep", "60"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert started[0].returncode == -signal.SIGTERM


def test_a_failed_set_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "host_interface", lambda *_: ["link set eth7 up"])
    with pytest.raises(RunFailedError, match="`ip link set eth7 up` failed: Cannot find"):
        Lab(TWO).__enter__()


def test_sigterm_leaves_nothing(owners: Callable[[], tuple[BaseProcess, int]]) -> None:
    owner, inside = owners()
    owner.terminate()
    owner.join(10)
    assert owner.exitcode == 128 + signal.SIGTERM
    assert of(owner) == []
    assert not alive(inside)


def test_a_killed_owner_leaves_nothing_after_clean(
    owners: Callable[[], tuple[BaseProcess, int]],
) -> None:
    (dead, orphan), (living, inside) = owners(), owners()
    dead.kill()
    dead.join()
    left = of(dead)
    assert len(left) == 3
    assert alive(orphan)
    assert {*left} <= {*clean()}
    assert of(dead) == []
    assert not alive(orphan)
    assert len(of(living)) == 3
    assert alive(inside)


def test_a_process_id_that_was_given_away_again_is_not_the_owner() -> None:
    name = f"firetree-{os.getpid()}-1-sw"
    subprocess.run(["ip", "netns", "add", name], check=True)
    assert name in clean()
    assert namespaces.having(f"firetree-{os.getpid()}-1") == []


def test_a_command_never_outlives_the_owner(
    owners: Callable[[], tuple[BaseProcess, int]],
) -> None:
    owner, inside = owners()
    shell = int(Path(f"/proc/{inside}/stat").read_text().rpartition(")")[2].split()[1])
    owner.kill()
    owner.join()
    until = time.monotonic() + 5
    while alive(shell) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(shell)


def test_a_host_sees_what_torchrun_would_tell_it_and_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    network = describe(3, "200mbit", slow=["2=50mbit:100mbit"])
    show = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    with Lab(network) as lab:
        process = lab.start(2, show, stdout=subprocess.PIPE, env={"MINE": "yes"})
        seen = json.loads(process.communicate()[0])
    expected = {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "10.77.0.1",
        "MASTER_PORT": "29500",
        "GLOO_SOCKET_IFNAME": "eth0",
        "OMP_NUM_THREADS": "1",
        "MINE": "yes",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert from_json(seen["FIRETREE_NETWORK"]) == network


def test_the_callers_number_of_threads_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in Lab(TWO).environment(0)


def test_the_network_of_the_environment_is_that_of_the_lab() -> None:
    for text, latency_s in (("250 x 200mbit, 2ms", 0.002), ("250 x 1gbit, 80us", 0.0)):
        told = Lab(parse_network(text)).environment(0)["FIRETREE_NETWORK"]
        assert from_json(told).latency(0, 1) == latency_s
        assert len(told) < 1 << 17  # more does not fit into a variable


def test_a_host_reaches_the_others_and_nothing_else() -> None:
    network = describe(4, "1gbit", racks=["0,2", "1,3"], uplink="1gbit")
    reach = (
        "import socket, sys\n"
        "socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()\n"
    )
    with Lab(network) as lab, socket.create_server(("0.0.0.0", 0)) as outside:
        serve = [sys.executable, "-c", SERVER]
        server = lab.start(0, serve, stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        port = str(outside.getsockname()[1])
        places = [(host, lab.address(0), "5000") for host in range(4)]
        places += [(1, "192.0.2.1", "80"), (1, "127.0.0.1", port)]
        tries = [
            lab.start(host, [sys.executable, "-c", reach, *place], stderr=subprocess.PIPE)
            for host, *place in places
        ]
        errors = [one.communicate()[1].decode() for one in tries]
    assert errors[:4] == [""] * 4
    assert "Network is unreachable" in errors[4]
    assert "Connection refused" in errors[5]


@pytest.fixture
def stream() -> Iterator[tuple[Lab, Callable[[], float]]]:
    """A lab with a stream from host 1 to host 0, and what arrives there now, in Mbit/s."""
    with Lab(describe(2, "200mbit")) as lab:
        receiver = lab.start(0, [sys.executable, "-c", RECEIVER])
        lab.start(1, [sys.executable, "-c", SENDER])

        def arrived_bytes() -> int:
            table = Path(f"/proc/{receiver.pid}/net/dev").read_text()
            [row] = [row for row in table.splitlines() if "eth0:" in row]
            return int(row.split()[1])

        def rate() -> float:
            before = arrived_bytes()
            time.sleep(0.3)
            return (arrived_bytes() - before) * 8 / 0.3 / 1e6

        wait_for(lambda: rate() > 150)
        yield lab, rate


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until


def test_a_link_that_is_down_carries_nothing_until_it_is_up(
    stream: tuple[Lab, Callable[[], float]],
) -> None:
    lab, rate = stream
    lab.link_down(1)
    wait_for(lambda: rate() < 1)
    assert rate() < 1
    lab.link_up(1)
    wait_for(lambda: rate() > 150)


def test_a_link_takes_another_rate_while_it_is_used(
    stream: tuple[Lab, Callable[[], float]],
) -> None:
    lab, rate = stream
    lab.set_rate(1, 50e6 / 8)
    wait_for(lambda: 40 < rate() < 60)
    lab.set_rate(1, 150e6 / 8)
    wait_for(lambda: 125 < rate() < 175)


def test_a_paused_host_sends_nothing_until_it_is_resumed(
    stream: tuple[Lab, Callable[[], float]],
) -> None:
    lab, rate = stream
    lab.pause(1)
    wait_for(lambda: rate() < 1)
    lab.resume(1)
    wait_for(lambda: rate() > 150)


def test_kill_ends_the_processes_of_one_host_alone() -> None:
    with Lab(TWO) as lab:
        processes = [lab.start(host, ["sleep", "60"]) for host in range(2)]
        lab.kill(1)
        assert processes[1].wait(5) == -signal.SIGKILL
        assert processes[0].poll() is None


def test_a_second_lab_in_a_process_is_refused_and_the_first_stays() -> None:
    with Lab(TWO) as lab:
        with pytest.raises(UserError, match="in a lab already"):
            Lab(TWO).__enter__()
        assert lab.start(1, ["true"]).wait() == 0


def test_a_lab_of_too_many_hosts_is_refused() -> None:
    with pytest.raises(UserError, match="251 hosts; a lab has 250 at most"):
        Lab(Network.of_ports((1e6,) * 251))


@pytest.mark.parametrize(
    ("place", "name", "value", "words"),
    [
        (os, "geteuid", lambda: 1000, "needs root"),
        (shutil, "which", lambda program: None, "install Debian's iproute2"),
        (sys, "platform", "darwin", "needs Linux"),
    ],
)
def test_a_machine_without_what_a_lab_needs_is_told_so(
    place: object, name: str, value: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, value)
    for action in (Lab(TWO).__enter__, clean):
        with pytest.raises(UserError, match=words):
            action()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="drops rights with setpriv")
def test_root_without_the_right_to_make_networks_is_told_so() -> None:
    script = "from firetree.lab import Lab, describe\nLab(describe(2, '1gbit')).__enter__()"
    rights = ["setpriv", "--bounding-set=-net_admin,-sys_admin"]
    done = subprocess.run(
        [*rights, sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1].endswith("it needs root with CAP_NET_ADMIN")
