"""What a secret costs: all-reduces in private beside the same in clear, in turn.

On hosts of a lab with links of 1 Gbit/s, and on loopback, where the cores are the limit. Needs root,
`ip`, `tc` and the extra `private`, and nothing else on the machine: three minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from firetree.network.units import format_bytes
from firetree.wires import new_secret
from firetree.wires.secret import VARIABLE
from results import median_and_spread, tell, write_section

TURNS = 3
BENCH = "firetree bench allreduce --algorithms ring --repeats 5"
PLACES = {
    "1 Gbit/s": f"firetree lab --hosts 4 --rate 1gbit -- {BENCH} --world-size 2,4 --sizes 1MB,25MB",
    "loopback": f"{BENCH} --world-size 2,4 --sizes 64kB,1MB,100MB",
}
Cell = tuple[int, int]


def measured(command: str, environ: dict[str, str]) -> dict[Cell, tuple[float, float]]:
    """Seconds, and CPU seconds of all ranks, by ranks and bytes."""
    firetree = str(Path(sys.executable).with_name("firetree"))
    words = [firetree if word == "firetree" else word for word in command.split()]
    done = subprocess.run(
        [*words, "--json"], stdout=subprocess.PIPE, check=True, env=os.environ | environ
    )
    rows = [row for row in json.loads(done.stdout) if row["algorithm"] == "ring"]
    return {(row["world_size"], row["size_bytes"]): (row["median_s"], row["cpu_s"]) for row in rows}


def main() -> None:
    table = [["where", "ranks", "size", "ms in clear", "ms in private", "×", "MB per CPU second"]]
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder, "secret.pem")
        new_secret(secret)
        for place, command in PLACES.items():
            clear, private = [], []
            for turn in range(TURNS):
                tell(f"{place}, turn {turn + 1} of {TURNS}")
                clear.append(measured(command, {}))
                private.append(measured(command, {VARIABLE: str(secret)}))
            for cell in clear[0]:
                times = [[1e3 * turn[cell][0] for turn in turns] for turns in (clear, private)]
                ratios = [b[cell][0] / a[cell][0] for a, b in zip(clear, private, strict=True)]
                ranks, size = cell
                sent_mb = 2 * (ranks - 1) * size / 1e6
                rate = sent_mb / median(turn[cell][1] for turn in private)
                line = [place, str(ranks), format_bytes(size), *map(median_and_spread, times)]
                table.append([*line, median_and_spread(ratios), f"{rate:.0f}"])
    write_section(
        "What a secret costs",
        "python benchmarks/private.py",
        f"A ring in clear and in private (TLS 1.3), {TURNS} times in turn. The last column is what a core "
        "sends, receives and adds in private: all bytes on their way by the CPU time of all ranks.",
        table,
    )


if __name__ == "__main__":
    main()
