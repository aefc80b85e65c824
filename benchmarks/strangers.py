"""Strangers at the ports of a job with a secret: does any take part, delay a step or fill memory?

Four ranks on this host train digits. Half of the strangers come while the ranks still wait for the last
one, half while they train, in every other stretch of two seconds. They are silent, speak rubbish, break
off a handshake, have another secret, or say again what was recorded of a handshake with the right one.
The weights must be those of a job that nobody visited. Exit code 1 where they are not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise
from pathlib import Path
from statistics import median, quantiles

from firetree.trace import read_trace
from firetree.wires import Secret, new_secret
from results import write_section

HERE, RANKS, PERIOD_S = "127.0.0.1", 4, 2.0
HELD = 200
"""So many connections that say nothing, or not enough, are kept open at once."""
LISTENING = "0A"
Stranger = Callable[[socket.socket], None]


class Job:
    """Ranks started by hand, each with its own process."""

    def __init__(self, folder: Path, secret: Path, steps: int):
        self.folder, self._secret, self._steps = folder, secret, steps
        with socket.create_server((HERE, 0)) as free:
            self.port: int = free.getsockname()[1]
        self.ranks: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        for rank in range(len(self.ranks), len(self.ranks) + number):
            sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(RANKS))
            where = {"RANK": str(rank), "MASTER_ADDR": HERE, "MASTER_PORT": str(self.port)}
            command = [Path(sys.executable).with_name("firetree"), "train", "digits"]
            command += ["--secret", self._secret, "--run-dir", self.folder / "run"]
            command += ["--optim.steps", str(self._steps), "--sync.algorithm", "binomial_tree"]
            with (self.folder / f"rank-{rank}.txt").open("wb") as said:
                environ = {**os.environ, **sizes, **where, "OMP_NUM_THREADS": "1"}
                process = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
            self.ranks.append(process)

    def ports(self) -> list[int]:
        """Where the ranks listen now."""
        sockets = {
            os.readlink(file)
            for rank in self.ranks
            for file in Path(f"/proc/{rank.pid}/fd").iterdir()
            if file.is_symlink()
        }
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return [
            int(row[1].partition(":")[2], 16)
            for row in rows
            if row[3] == LISTENING and f"socket:[{row[9]}]" in sockets
        ]

    def memory_mb(self) -> float:
        """Of the rank that has most."""
        pages = [int(Path(f"/proc/{it.pid}/statm").read_text().split()[1]) for it in self.ranks]
        return max(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        for rank in self.ranks:
            if rank.wait(timeout=600):
                raise SystemExit((self.folder / "rank-0.txt").read_text())

    def refused(self) -> list[int]:
        """What the ranks say that they have refused, in the order in which they say it."""
        said = "".join((self.folder / f"rank-{rank}.txt").read_text() for rank in range(RANKS))
        return [int(found) for found in re.findall(r"refused connections of .*: (\d+)", said)]

    def weights(self) -> bytes:
        return max(self.folder.glob("run/checkpoints/*/model.safetensors")).read_bytes()


def strangers(right: Secret, other: Secret) -> dict[str, Stranger]:
    """What each kind does on its connection."""
    said = recorded(right)

    def with_another_secret(stream: socket.socket) -> None:
        other.calling(stream)

    return {
        "silent": lambda stream: None,
        "rubbish": lambda stream: stream.sendall(os.urandom(300)),
        "half a handshake": lambda stream: stream.sendall(said[:100]),
        "another secret": with_another_secret,
        "a replay": lambda stream: stream.sendall(said),
    }


def recorded(secret: Secret) -> bytes:
    """What one who makes a connection says in a handshake that succeeds."""
    to_client, from_client, to_server, from_server = (ssl.MemoryBIO() for _ in range(4))
    client = secret.as_client.wrap_bio(to_client, from_client)
    server = secret.as_server.wrap_bio(to_server, from_server, server_side=True)
    said = b""
    for _ in range(2):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        said += (part := from_client.read())
        to_server.write(part)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        to_client.write(from_server.read())
    return said


def visits(kinds: dict[str, Stranger], ports: list[int]) -> Iterator[None]:
    """One stranger after another, of each kind in turn, at each port in turn."""
    held: deque[socket.socket] = deque()
    for number in count():
        stream = socket.create_connection((HERE, ports[number % len(ports)]), 5)
        stream.settimeout(5)
        with contextlib.suppress(OSError):  # refused already
            [*kinds.values()][number // len(ports) % len(kinds)](stream)
        held.append(stream)
        if len(held) > HELD:
            held.popleft().close()
        yield


def besiege(
    job: Job, visitors: Iterator[None], number: int, rate: float
) -> tuple[list[float], float]:
    """Let so many in, in every other stretch; gives when stretches began, and the most memory in MB."""
    began, most_mb = [time.monotonic()], job.memory_mb()
    while number > 0:
        time.sleep(PERIOD_S)
        began.append(time.monotonic())
        for _ in islice(visitors, min(number, int(rate * PERIOD_S))):
            time.sleep(max(0.0, 0.9 / rate))
        number -= int(rate * PERIOD_S)
        most_mb = max(most_mb, job.memory_mb())
        began.append(time.monotonic())
    return began, most_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strangers", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="a second, while ranks train")
    parser.add_argument("--steps", type=int, default=8_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, another = folder / "ours.pem", folder / "another.pem"
        for path in (ours, another):
            new_secret(path)
        kinds = strangers(Secret(ours), Secret(another))
        quiet, visited = (Job(folder / it, ours, options.steps) for it in ("quiet", "visited"))
        for job in (quiet, visited):
            job.folder.mkdir()
        quiet.start(RANKS)
        quiet.end()
        rows = visit(visited, kinds, options.strangers, options.rate)
        same = visited.weights() == quiet.weights()
    write_section(
        "Strangers at the ports of a job with a secret",
        f"python benchmarks/strangers.py --strangers {options.strangers}",
        f"{RANKS} ranks of the digits recipe on two cores, with a secret. Strangers are silent, speak rubbish, break off a "
        "handshake, have another secret, or replay a handshake with the right one. While ranks train, "
        f"they come in every other stretch of {PERIOD_S:g} s; steps of those stretches against the others. "
        f"The weights {'are' if same else 'are NOT'} those of a job that nobody visited, bit by bit.",
        rows,
    )
    if not same:
        raise SystemExit(1)


def visit(job: Job, kinds: dict[str, Stranger], number: int, rate: float) -> list[list[str]]:
    """A job with strangers before it begins and while it trains: a row of figures for each."""
    job.start(RANKS - 1)
    while job.port not in job.ports():
        time.sleep(0.1)
    before_mb, start_s = job.memory_mb(), time.monotonic()
    for _ in islice(visits(kinds, [job.port]), number // 2):
        pass
    meeting_s, meeting_mb = time.monotonic() - start_s, job.memory_mb()
    job.start(1)
    while not [*job.folder.glob("run/checkpoints/*")]:
        time.sleep(0.1)
    training_mb = job.memory_mb()
    began, most_mb = besiege(job, visits(kinds, job.ports()), number // 2, rate)
    job.end()
    at_the_meeting, *later = job.refused()
    steps = read_trace(job.folder / "run").ranks[0].steps
    calm, visited = (
        [
            step.step_s
            for begin_s, end_s in list(pairwise(began))[first::2]
            for step in steps
            if begin_s <= step.start_s < end_s
        ]
        for first in (0, 1)
    )
    return [
        [
            "strangers",
            "come",
            "refused, by the ranks' own count",
            "seconds",
            "step's median",
            "95 % of steps",
            "memory MB, before",
            "most",
        ],
        [
            "at the meeting",
            str(number // 2),
            str(at_the_meeting),
            f"{meeting_s:.0f}",
            "",
            "",
            f"{before_mb:.0f}",
            f"{meeting_mb:.0f}",
        ],
        [
            "while ranks train",
            str(number // 2),
            str(sum(later)),
            f"{began[-1] - began[0]:.0f}",
            f"{median(visited) / median(calm):.3f} of the others'",
            f"{quantiles(visited, n=20)[-1] / quantiles(calm, n=20)[-1]:.3f} of the others'",
            f"{training_mb:.0f}",
            f"{most_mb:.0f}",
        ],
    ]


if __name__ == "__main__":
    main()
