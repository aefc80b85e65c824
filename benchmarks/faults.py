"""Kill, stop or cut off a rank in the middle of an all-reduce, at random moments, in the lab.

Every other rank must end within the timeout with an error that names a rank and a chunk, and
nothing may be left behind: no process, no namespace. Exit code 1 where a trial shows otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firetree import collectives
from firetree.lab import Lab, describe
from results import write_section

TIMEOUT_S = 3.0
MARGIN_S = 3.0
SIZE_BYTES = 2_000_000
ERROR = re.compile(r"rank \d+ (did not answer within|went away).* chunk \d+ ")

KINDS: dict[str, Callable[[Lab, int], None]] = {
    "killed": lambda lab, host: lab.kill(host),
    "stopped": lambda lab, host: lab.pause(host),
    "cut off": lambda lab, host: lab.link_down(host),
}


@dataclass(frozen=True)
class Trial:
    """One fault: which rank of how many meets it, in which algorithm, how long after the start."""

    kind: str
    algorithm: str
    hosts: int
    victim: int
    after_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of:
        sum_for_ever(options.rank_of)
    dice = random.Random(options.seed)
    trials = [draw(dice, number) for number in range(options.trials)]
    faults = [fault for trial in trials if (fault := run(trial))]
    print("\n".join(faults) or f"all {len(trials)} trials ended as they must")
    if options.trials >= 50 and not faults:
        write_table(trials, options.seed)
    sys.exit(1 if faults else 0)


def draw(dice: random.Random, number: int) -> Trial:
    hosts = dice.randint(2, 6)
    return Trial(
        kind=list(KINDS)[number % len(KINDS)],
        algorithm=dice.choice(collectives.names()),
        hosts=hosts,
        victim=dice.randrange(hosts),
        after_s=dice.uniform(0.0, 1.0),
    )


def run(trial: Trial) -> str | None:
    """What was wrong, or None."""
    with Lab(describe(trial.hosts, "200mbit")) as lab:
        command = [sys.executable, __file__, "--rank-of", trial.algorithm]
        ranks = [
            lab.start(host, command, stdout=subprocess.PIPE, text=True)
            for host in range(trial.hosts)
        ]
        for rank in ranks:
            rank.stdout.readline()  # it is summing
        time.sleep(trial.after_s)
        KINDS[trial.kind](lab, trial.victim)
        deadline = time.monotonic() + TIMEOUT_S + MARGIN_S
        said = {}
        for host, rank in enumerate(ranks):
            if host != trial.victim:
                try:
                    said[host] = rank.communicate(timeout=max(0.1, deadline - time.monotonic()))[0]
                except subprocess.TimeoutExpired:
                    return f"{trial}: rank {host} did not end within {TIMEOUT_S + MARGIN_S} s"
        pids = [rank.pid for rank in ranks]
    print(f"{trial}: {said[min(said)].strip()}", flush=True)
    wrong = [f"rank {host} said {text!r}" for host, text in said.items() if not ERROR.search(text)]
    wrong += [f"process {pid} is left" for pid in pids if Path(f"/proc/{pid}").exists()]
    wrong += [f"namespace {name} is left" for name in own_namespaces()]
    return f"{trial}: {'; '.join(wrong)}" if wrong else None


def own_namespaces() -> list[str]:
    return [path.name for path in Path("/var/run/netns").glob(f"firetree-{os.getpid()}-*")]


def sum_for_ever(algorithm: str) -> None:
    """A rank: all-reduces one after another until one fails, and says why."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    group = dist.new_group(backend="gloo")
    world_size = dist.get_world_size()
    chunks = collectives.chunks_for(algorithm, world_size, SIZE_BYTES)
    schedule = collectives.build(algorithm, world_size, chunks)
    executor = collectives.Executor(schedule, group, timeout_s=TIMEOUT_S)
    buffer = torch.zeros(SIZE_BYTES // 4)
    dist.barrier()
    print("summing", flush=True)
    try:
        while True:
            executor.run(buffer)
    except collectives.CollectiveError as error:
        print(error, flush=True)
    os._exit(1)


def write_table(trials: list[Trial], seed: int) -> None:
    counts = Counter((trial.kind, trial.hosts) for trial in trials)
    sizes = sorted({trial.hosts for trial in trials})
    rows = [["fault", *(f"{hosts} ranks" for hosts in sizes)]]
    rows += [[kind, *(str(counts[kind, hosts]) for hosts in sizes)] for kind in KINDS]
    write_section(
        "Faults in the middle of an all-reduce",
        "python benchmarks/faults.py",
        f"{len(trials)} trials (seed {seed}), in the lab at 200 Mbit/s, {SIZE_BYTES / 1e6:g} MB, "
        "every algorithm drawn at random, the fault up to a second after the first all-reduce began. "
        f"In each, every other rank ended within the timeout of {TIMEOUT_S:g} s (and {MARGIN_S:g} s for "
        "the message to be heard) with an error that names a rank and a chunk, and no process and no "
        "namespace was left. The table counts the trials.",
        rows,
    )


if __name__ == "__main__":
    main()
