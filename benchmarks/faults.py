"""Faults drawn at random, in runs of `firetree train` and in scripts with `attach`, on this host and in
the lab: does anything hang, go wrong, get lost, and does every rank name the one that failed?

Ranks are forked from one process that has imported everything, so that a trial takes seconds. What
trials came to stands in `faults.csv`; it goes on where it was left. Exit code 1 where a trial shows a
hang, a wrong result, a lost checkpoint, or a wrong name.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import points
from fault_ranks import FORKS, SHOW_STACKS, run_command, train_attached
from fault_trials import FAULTS, Outcome, Trial, draw
from firetree.lab import Lab, describe
from firetree.lab.namespaces import path as namespace_file
from results import write_section

TIMEOUT_S, MARGIN_S = 6.0, 5.0
START_S = 120.0
STEPS, EVERY = 60, 10
RESULTS = Path(__file__).with_name("faults.csv")


class Ranks:
    """The processes of one job, on hosts of a lab or on this one, and what each has printed."""

    def __init__(self, trial: Trial, lab: Lab | None, folder: Path) -> None:
        self.trial, self.lab = trial, lab
        self._out = [folder / f"rank-{rank}.txt" for rank in range(trial.ranks)]
        self._processes = []

    def start(self, work: Callable[..., None], arguments: Callable[[int], Sequence[str]]) -> None:
        port = free_port()
        for rank, out in enumerate(self._out):
            out.write_text("")
            namespace = namespace_file(self.lab.namespace(rank)) if self.lab else None
            environ = self._environment(rank, port)
            process = FORKS.Process(target=work, args=(environ, namespace, out, arguments(rank)))
            process.start()
            self._processes.append(process)

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        if self.lab:
            return {**self.lab.environment(rank, port), "OMP_NUM_THREADS": "1"}
        size = str(self.trial.ranks)
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }

    def said(self, rank: int) -> str:
        return self._out[rank].read_text(errors="replace")

    def last_line(self, rank: int) -> str:
        """Of its own, not of PyTorch's log."""
        lines = [line for line in self.said(rank).splitlines() if line and line[0] != "["]
        return (lines or [""])[-1]

    def pid(self, rank: int) -> int:
        return self._processes[rank].pid

    def wait(self, ranks: Sequence[int], limit_s: float) -> bool:
        """Whether these ranks end in time."""
        until_s = time.monotonic() + limit_s
        for rank in ranks:
            self._processes[rank].join(max(0.0, until_s - time.monotonic()))
        late = [rank for rank in ranks if self._processes[rank].is_alive()]
        for rank in late:
            os.kill(self.pid(rank), SHOW_STACKS)
            time.sleep(1)
            print(f"rank {rank} has not ended:\n{self.said(rank)}", flush=True)
        return not late

    def codes(self) -> list[int | None]:
        return [process.exitcode for process in self._processes]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._processes = []


def run(trial: Trial) -> Outcome:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="firetree-faults-")))
        lab = stack.enter_context(Lab(describe(trial.ranks, "200mbit"))) if trial.lab else None
        ranks = Ranks(trial, lab, folder)
        stack.callback(ranks.end)
        return in_script(ranks) if trial.job == "attach" else in_run(ranks, folder)


def strike(ranks: Ranks) -> None:
    trial, lab, pid = ranks.trial, ranks.lab, ranks.pid(ranks.trial.victim)
    time.sleep(trial.after_s)
    if trial.fault == "killed":
        os.kill(pid, signal.SIGKILL)
    elif trial.fault == "stopped":
        os.kill(pid, signal.SIGSTOP)
    elif trial.fault == "SIGTERM":
        os.kill(pid, signal.SIGTERM)
    elif trial.fault == "cut off":
        lab.link_down(trial.victim)
    elif lab:  # slow
        lab.set_rate(trial.victim, 2.5e6)
    else:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(TIMEOUT_S / 3)
        os.kill(pid, signal.SIGCONT)


def in_script(ranks: Ranks) -> Outcome:
    """A script with `attach`: it ends by naming the victim, or as it would have without the fault."""
    trial, outcome = ranks.trial, Outcome()
    steps = STEPS if trial.fault == "slow" else 100_000
    ranks.start(train_attached, lambda _: [*trial.way, str(TIMEOUT_S), str(steps)])
    if not until(lambda: all("training" in ranks.said(rank) for rank in range(trial.ranks))):
        outcome.hang = True
        return outcome
    strike(ranks)
    if trial.fault == "slow":
        outcome.hang = not ranks.wait(range(trial.ranks), START_S)
        ends = {ranks.last_line(rank) for rank in range(trial.ranks)}
        outcome.wrong = ends != {reference(trial, str(STEPS))}
        return outcome
    judge_end(ranks, outcome)
    return outcome


def judge_end(ranks: Ranks, outcome: Outcome) -> None:
    """Whether all that can end do so in time, and name the victim."""
    trial = ranks.trial
    can_end = [
        rank
        for rank in range(trial.ranks)
        if rank != trial.victim or trial.fault in ("cut off", "SIGTERM")
    ]
    outcome.hang = not ranks.wait(can_end, TIMEOUT_S + MARGIN_S)
    for rank in can_end:
        said = ranks.last_line(rank)
        if not is_named(trial, said):
            outcome.unnamed.append(f"by rank {rank}: {said}")


def is_named(trial: Trial, said: str) -> bool:
    """Whether the first rank in the message is the victim, with its host in the lab."""
    if trial.fault == "SIGTERM":  # which ends all after the same step
        return "SIGTERM" in said
    found = re.search(r"rank (\d+)( \(host (\w+)\))?", said)
    if not found or int(found[1]) != trial.victim:
        return False
    return not trial.lab or found[3] == str(trial.victim)


def in_run(ranks: Ranks, folder: Path) -> Outcome:
    """`firetree train`: after the fault, the run goes on to the same weights from its checkpoints."""
    trial, outcome, run_dir = ranks.trial, Outcome(), folder / "disk" / "run"
    with disk(run_dir.parent, full=trial.fault == "full disk") as make_room:
        if trial.fault == "mismatch":
            ranks.start(run_command, lambda rank: command(trial, run_dir, rank))
            outcome.hang = not ranks.wait(range(trial.ranks), START_S)
            outcome.wrong = 0 in ranks.codes()
            outcome.unnamed = [
                f"by rank {rank}: {ranks.last_line(rank)}"
                for rank in range(trial.ranks)
                if f"rank {max(1, trial.victim)}" not in ranks.last_line(rank)
            ]
            return outcome
        ranks.start(run_command, lambda _: command(trial, run_dir))
        break_run(ranks, run_dir, outcome)
        kept = checkpoints(run_dir)
        make_room()
        ranks.end()
        ranks.lab = None
        ranks.start(run_command, lambda _: [*command(trial, run_dir), "--resume"])
        outcome.hang |= not ranks.wait(range(trial.ranks), START_S)
        now = checkpoints(run_dir)
        outcome.lost = bool(kept) and f"resumed at step {kept[-1]}" not in ranks.said(0)
        outcome.wrong |= not now or now[-1] != STEPS
        outcome.wrong |= weights(run_dir) != run_reference(trial)
    return outcome


def break_run(ranks: Ranks, run_dir: Path, outcome: Outcome) -> None:
    trial = ranks.trial
    everyone = range(trial.ranks)
    if trial.fault == "read error":
        outcome.hang = not ranks.wait(everyone, START_S)
        refuse_reading(ranks, run_dir, outcome)
    elif trial.fault == "full disk":
        outcome.hang = not ranks.wait(everyone, START_S)
        outcome.unnamed = [
            f"by rank {rank}: {ranks.last_line(rank)}"
            for rank in everyone
            if "No space left on device" not in ranks.last_line(rank)
        ]
    elif not until(lambda: checkpoints(run_dir) or None not in ranks.codes()):
        outcome.hang = True
    else:
        strike(ranks)
        if trial.fault == "slow":
            outcome.hang = not ranks.wait(everyone, START_S)
            outcome.wrong = ranks.codes() != [0] * trial.ranks
        elif 0 not in ranks.codes():  # else it was faster than the fault
            judge_end(ranks, outcome)


def refuse_reading(ranks: Ranks, run_dir: Path, outcome: Outcome) -> None:
    """Resume while no checkpoint can be read, as from a disk that comes back later."""
    before, aside = checkpoints(run_dir), run_dir.parent / "aside"
    aside.mkdir()
    states = sorted((run_dir / "checkpoints").glob("step-*/state.json"))
    for state in states:
        shutil.move(state, aside / state.parent.name)
        state.symlink_to(state.name)  # a loop: ELOOP on reading
    ranks.end()
    ranks.start(run_command, lambda _: [*command(ranks.trial, run_dir), "--resume"])
    outcome.hang |= not ranks.wait(range(ranks.trial.ranks), START_S)
    outcome.lost |= checkpoints(run_dir) != before or 0 in ranks.codes()
    for state in states:
        state.unlink(missing_ok=True)
        shutil.move(aside / state.parent.name, state)


def command(trial: Trial, run_dir: Path, rank: int | None = None) -> list[str]:
    algorithm, compression = trial.way
    differs = rank is not None and rank == max(1, trial.victim)
    return [
        *("train", "digits", "--run-dir", str(run_dir), "--sync.timeout-s", str(TIMEOUT_S)),
        *("--sync.algorithm", algorithm, "--sync.compression", compression),
        *("--optim.steps", str(STEPS), "--checkpoint-steps", str(EVERY)),
        *([trial.mismatch] if differs else []),
    ]


def checkpoints(run_dir: Path) -> list[int]:
    names = (path.name for path in (run_dir / "checkpoints").glob("step-*"))
    return sorted(int(name.removeprefix("step-")) for name in names if name[5:].isdigit())


def weights(run_dir: Path) -> str:
    newest = max((run_dir / "checkpoints").glob("step-*"))
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


_REFERENCES: dict[tuple[object, ...], str] = {}


def reference(trial: Trial, steps: str) -> str:
    """What a rank of a script prints at its end where nothing goes wrong."""
    key = "attach", trial.way, trial.ranks
    if key not in _REFERENCES:
        with undisturbed(trial) as (ranks, _):
            ranks.start(train_attached, lambda _: [*trial.way, str(START_S), steps])
            assert ranks.wait(range(trial.ranks), START_S), ranks.said(0)
            _REFERENCES[key] = ranks.last_line(0)
    return _REFERENCES[key]


def run_reference(trial: Trial) -> str:
    """The weights of a run in which nothing goes wrong."""
    key = "train", trial.way, trial.ranks
    if key not in _REFERENCES:
        with undisturbed(trial) as (ranks, folder):
            ranks.start(run_command, lambda _: command(trial, folder / "run"))
            assert ranks.wait(range(trial.ranks), START_S), ranks.said(0)
            _REFERENCES[key] = weights(folder / "run")
    return _REFERENCES[key]


@contextlib.contextmanager
def undisturbed(trial: Trial) -> Iterator[tuple[Ranks, Path]]:
    with tempfile.TemporaryDirectory(prefix="firetree-faults-") as folder:
        ranks = Ranks(trial, None, Path(folder))
        try:
            yield ranks, Path(folder)
        finally:
            ranks.end()


@contextlib.contextmanager
def disk(folder: Path, full: bool) -> Iterator[Callable[[], None]]:
    """A folder, on a disk that holds one checkpoint or two where it is to be full; gives what makes room."""
    folder.mkdir()
    if not full:
        yield lambda: None
        return
    mount = ["mount", "-t", "tmpfs", "none", str(folder), "-o"]
    subprocess.run([*mount, "size=900k"], check=True)
    try:
        yield lambda: subprocess.run([*mount, "remount,size=64m"], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def until(condition: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def free_port() -> int:
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return int(any_socket.getsockname()[1])


@dataclass(frozen=True)
class Row:
    """What a trial came to, as it stands in the file; `unnamed` counts ranks."""

    seed: int
    number: int
    fault: str
    hang: int
    wrong: int
    lost: int
    unnamed: int

    @property
    def is_good(self) -> bool:
        return not (self.hang or self.wrong or self.lost or self.unnamed)


def write_table(results: Sequence[Row], seed: int) -> None:
    rows = [["fault", "trials", "hangs", "wrong", "checkpoints lost", "named by every rank"]]
    for fault in FAULTS:
        of_fault = [row for row in results if row.fault == fault]
        counts = (sum(getattr(row, name) for row in of_fault) for name in ("hang", "wrong", "lost"))
        named = "" if fault == "slow" else str(sum(not row.unnamed for row in of_fault))
        rows.append([fault, str(len(of_fault)), *map(str, counts), named])
    write_section(
        "Faults in the middle of training",
        f"python benchmarks/faults.py --faults {len(results)} --seed {seed}",
        "Runs of `firetree train digits` and scripts with `attach`, two to four ranks, on one host and "
        "in the lab at 200 Mbit/s, every way to sum drawn at random, the fault up to a second after "
        f"training began. A hang is a rank that has not ended {MARGIN_S:g} s after the timeout of "
        f"{TIMEOUT_S:g} s. A result is wrong where its bits are not those of a run without the fault, "
        "after resuming where the fault ended it. `slow` faults must be survived.",
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    known = points.read(RESULTS, Row)
    results = {row.number: row for row in known if row.seed == options.seed}
    for number in range(options.faults):
        trial = draw(dice)
        if number in results:
            continue
        start_s = time.monotonic()
        found = run(trial)
        took_s = time.monotonic() - start_s
        print(f"{number} {took_s:.0f} s {trial}: {found.faults() or 'good'}", flush=True)
        counts = (int(found.hang), int(found.wrong), int(found.lost), len(found.unnamed))
        results[number] = Row(options.seed, number, trial.fault, *counts)
        points.add(RESULTS, [results[number]])
    tried = [results[number] for number in range(options.faults)]
    bad = sum(not row.is_good for row in tried)
    print(f"{bad} of {len(tried)} trials did not end as they must")
    if options.faults >= 100:
        write_table(tried, options.seed)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
