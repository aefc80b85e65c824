"""Change a `.fire`, a `.net`, safetensors and a `.pth` thousands of times: each must end in a clear error
or a model, within two seconds.

`python reproduce/hostile_files.py --count 10000 WEIGHTS.net WEIGHTS.safetensors`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from firetree import compress, weights
from firetree.errors import UserError

LIMIT_S = 2.0


def changed(content: bytes, random: np.random.Generator) -> bytes:
    """A bit flipped, the end cut off, or four bytes made huge; half of it near the front."""
    front = int(random.integers(2)) == 0
    place = int(random.integers(min(len(content), 4096) if front else len(content)))
    damaged = bytearray(content)
    match int(random.integers(3)):
        case 0:
            damaged[place] ^= 1 << int(random.integers(8))
        case 1:
            del damaged[place:]
        case _:
            damaged[place : place + 4] = b"\xff" * 4
    return bytes(damaged)


def samples(paths: list[Path]) -> dict[str, bytes]:
    """A file's bytes by suffix: those given, and what is made from the first."""
    published = weights.load(paths[0])
    found = {path.suffix: path.read_bytes() for path in paths}
    found[".fire"] = compress.write(compress.keep_exactly(published))
    with tempfile.TemporaryDirectory() as folder:
        torch.save(dict(published.state), Path(folder, "state.pth"))
        found[".pth"] = Path(folder, "state.pth").read_bytes()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10_000, help="changes of each file")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, content in samples(options.paths).items():
            ends: Counter[str] = Counter()
            slowest_s = 0.0
            for _ in range(options.count):
                target = Path(folder, f"changed{suffix}")
                target.write_bytes(changed(content, random))
                start_s = time.perf_counter()
                try:
                    compress.open_model(target)
                    ends["a model"] += 1
                except UserError:
                    ends["a clear error"] += 1
                slowest_s = max(slowest_s, time.perf_counter() - start_s)
            told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            print(f"{suffix}: {told}; the slowest took {slowest_s:.2f} s of {LIMIT_S}")


if __name__ == "__main__":
    main()
