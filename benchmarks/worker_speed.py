"""`firetree train` beside other training loops: one worker, and two.

The loops are in `loops.py`. Lightning and Accelerate are no dependencies of firetree; their rows need
`pip install lightning accelerate`, and are left out without. Run it with nothing else running: about
fifteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from firetree.trace import read_trace
from loops import step_s
from results import median_and_spread, write_section

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data" / "fashion.npz"
STEPS, REPEATS = 80, 3

ONE = {"firetree": 1, "plain": 1, "plain-contiguous": 1}
TWO = {"firetree": 2, "accelerate": 2, "lightning": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=DATA, help="Fashion-MNIST")
    path = parser.parse_args().path
    rows = [["workers", "loop", "ms a step", "firetree's speed against it"]]
    for ways in (
        ONE,
        {name: n for name, n in TWO.items() if name == "firetree" or find_spec(name)},
    ):
        times_s = measured(ways, path)
        rows += table(ways, times_s)
    write_section(
        "One worker, and two, beside other loops",
        "python benchmarks/worker_speed.py",
        f"The Fashion recipe's network, batch of 128, float32; {STEPS} steps, the mean from the 11th on; "
        f"medians of {REPEATS} interleaved repeats (least to most), ratios of medians.",
        rows,
    )


def measured(ways: Mapping[str, int], path: Path) -> dict[str, list[float]]:
    """Seconds of a step, by turns."""
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, workers in ways.items():
            run: Callable[[str, int, Path], float] = firetree if name == "firetree" else loop
            times_s[name].append(run(name, workers, path))
            print(f"{workers} {name}: {times_s[name][-1] * 1e3:.1f} ms", flush=True)
    return times_s


def firetree(_: str, workers: int, path: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, "-m", "firetree", "train", "fashion-squeezenet"]
        command += [
            "--data.path",
            str(path),
            "--optim.steps",
            str(STEPS),
            "--workers",
            str(workers),
        ]
        command += ["--run-dir", str(run_dir), "--optim.lr", "0.01"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return step_s([step.start_s for step in read_trace(run_dir).ranks[0].steps])


def loop(name: str, workers: int, path: Path) -> float:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(workers)]
    command = [*(start if workers > 1 else [sys.executable]), str(HERE / "loops.py")]
    command += [name, str(path), str(STEPS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return max(float(json.loads(line)["step_s"]) for line in lines)


def table(ways: Mapping[str, int], times_s: Mapping[str, list[float]]) -> list[list[str]]:
    ours = median(times_s["firetree"])
    return [
        [
            str(workers),
            name,
            median_and_spread([1e3 * time_s for time_s in times_s[name]], 1),
            f"{median(times_s[name]) / ours:.2f}",
        ]
        for name, workers in ways.items()
    ]


if __name__ == "__main__":
    main()
