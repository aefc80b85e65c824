"""Change a `.fire`, a `.net`, safetensors and a `.pth` 10,000 times in all: each must end in a clear error
or a model, within two seconds, and never take more memory than four times the model's.

`python reproduce/hostile_files.py WEIGHTS.net WEIGHTS.safetensors`

Most changes to a `.fire` are made within a section whose checksum is then put right; a hundredth
of those to a `.pth` puts a pickle there that would run a command. The table goes to
`reproduce/RESULTS.md`. Linux only: the most memory comes from the kernel.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import mutations
import torch
from page import tell, write_table

from firetree.errors import UserError
from firetree.modelfiles import load_model
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import keep_exactly

LIMIT_S = 2.0
"""Of CPU time, so that others on the machine make no difference."""
LIMIT_TIMES = 4.0
"""Memory, for that of the true model's weights in float32."""


class RunsCommand:
    """Its pickle makes the file `ran` wherever it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


@dataclass
class Found:
    """What became of the changed files of one format."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    most_bytes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=2500, help="changes of each file")
    options = parser.parse_args()
    # Freed memory goes back at once, so that the next file's is seen.
    mmap_threshold = -3
    ctypes.CDLL(None).mallopt(mmap_threshold, 1 << 16)
    rows = [
        [
            "file",
            "changed",
            "a clear error",
            "a model",
            "slowest s",
            "memory ×",
            "unchanged: s",
            "×",
        ]
    ]
    contents = samples(options.paths)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for suffix, content in contents.items():
            rows.append(row(suffix, content, options.count))
            tell(" | ".join(rows[-1]))
        if Path("ran").exists():
            raise RuntimeError("a pickle has run its command")
    write_table(
        "Hostile files",
        f"python reproduce/hostile_files.py --count {options.count} V1_0.net V1_1.safetensors",
        "Bits flipped, ends cut off, bytes made huge, lost, doubled or made up, half of it among the first "
        "4,096 bytes; in a `.fire` 70 % of it behind a right checksum; in a `.pth` now and then a pickle that would run a "
        f"command (none did). Processor time (limit {LIMIT_S:g} s), and the most memory taken beside "
        f"what was there before, for that of the weights in float32 (limit {LIMIT_TIMES:g}).",
        rows,
    )


def samples(paths: list[Path]) -> dict[str, bytes]:
    """A file's bytes by suffix: those given, and what is made from the first."""
    model = load_model(paths[0])
    page = io.BytesIO()
    named = {re.sub(r"(?<=^fire\d)\.", "/", name): one for name, one in model.state.items()}
    torch.save(named, page)
    return {
        ".fire": write(keep_exactly(model)),
        ".pth": page.getvalue(),
    } | {path.suffix: path.read_bytes() for path in paths}


def row(suffix: str, content: bytes, count: int) -> list[str]:
    """Read the file as it is, then `count` changed ones."""
    dice = Random(0)
    plain, found = Found(), Found()
    for _ in range(2):  # the first imports and reserves what all others share
        plain = Found()
        weights_bytes = read(suffix, content, plain)
    for _ in range(count):
        read(suffix, changed(suffix, content, dice), found)
    if found.slowest_s > LIMIT_S or found.most_bytes > LIMIT_TIMES * weights_bytes:
        tell(f"{suffix} went over a limit")
    return [
        f"`{suffix}`",
        f"{count:,}",
        *(f"{found.ends[end]:,}" for end in ("a clear error", "a model")),
        f"{found.slowest_s:.2f}",
        f"{found.most_bytes / weights_bytes:.1f}",
        f"{plain.slowest_s:.2f}",
        f"{plain.most_bytes / weights_bytes:.1f}",
    ]


def read(suffix: str, content: bytes, found: Found) -> int:
    """Open it from disk; gives the bytes of its weights in float32, 0 where it is refused."""
    target = Path(f"changed{suffix}")
    target.write_bytes(content)
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before_bytes, start_s = resident_bytes("VmRSS"), time.process_time()
    weights_bytes = 0
    try:
        state = load_model(target).state
        weights_bytes = 4 * sum(tensor.numel() for tensor in state.values())
        found.ends["a model"] += 1
    except UserError:
        found.ends["a clear error"] += 1
    found.slowest_s = max(found.slowest_s, time.process_time() - start_s)
    found.most_bytes = max(found.most_bytes, resident_bytes("VmHWM") - before_bytes)
    return weights_bytes


def resident_bytes(key: str) -> int:
    """This process's memory now (VmRSS), or the most of it (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def changed(suffix: str, content: bytes, dice: Random) -> bytes:
    """The file with one change."""
    if suffix == ".fire":
        return mutations.fire(content, dice)
    if suffix == ".pth" and dice.random() < 0.01:
        page = io.BytesIO()
        torch.save({"conv1.weight": RunsCommand()}, page)
        return page.getvalue()
    return mutations.damaged(content, dice)


if __name__ == "__main__":
    main()
