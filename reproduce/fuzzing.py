"""Change valid files of every format many times: each must be read, or refused with a clear error.

`python reproduce/fuzzing.py --inputs 2000` tries so many changes of each format, within 5 seconds of
CPU time and 2 GiB each. Some go through the real command as well: exit codes 0 to 2, one line,
no traceback. What ends otherwise is kept in --keep, one folder for each place it comes from. The same
`--seed` makes the same changes. A `.net` is tried where FUZZ_NET has the path of one. The table goes to `reproduce/RESULTS.md`. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from formats import FORMATS, Case, Format, command, mutated, write
from page import tell, write_table

from firetree.collectives import ScheduleError
from firetree.errors import UserError

LIMIT_S = 5.0
"""Of CPU time, so that others on the machine make no difference; of the clock twelve times that."""
LIMIT_BYTES = 2 << 30
"""Of memory beside what the process has."""


class LateError(BaseException):
    """Reading takes too long."""


@dataclass
class Found:
    """What became of the changed files of one format."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    places: dict[str, str] = field(default_factory=dict)
    """Where each unexpected end comes from, and the first such error."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2_000, help="changed inputs a format")
    parser.add_argument("--commands", type=int, default=20, help="how many through the command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=[*FORMATS], choices=[*FORMATS])
    parser.add_argument("--keep", type=Path, default=Path("fuzzing-kept"))
    parser.add_argument("--no-table", action="store_true", help="only print")
    options = parser.parse_args()
    heading = [
        "format",
        "inputs",
        "read",
        "named",
        "unexpected",
        "slowest s",
        "by the command",
        "bad",
    ]
    rows = [heading]
    for name in options.formats:
        found = apart(name, options)
        told = found.ends
        rows.append(
            [
                name,
                f"{sum(told[end] for end in ('read', 'named', 'unexpected')):,}",
                *(f"{told[end]:,}" for end in ("read", "named", "unexpected")),
                f"{found.slowest_s:.2f}",
                *(f"{told[end]:,}" for end in ("commands", "bad")),
            ]
        )
        tell(" | ".join(rows[-1]))
        for place, error in found.places.items():
            tell(f"    {place}: {error}")
    if not options.no_table:
        write_table(
            "Changed files of every format",
            f"python reproduce/fuzzing.py --inputs {options.inputs} --commands {options.commands} "
            f"--seed {options.seed}",
            "Values of other types and ranges, fields lost, swapped and repeated, bits flipped, ends cut "
            "off, checksums made anew. Read, refused in one line that names the file and the place, or "
            f"unexpected: any other error, over {LIMIT_S:g} s of CPU time, or over "
            f"{LIMIT_BYTES >> 30} GiB; beside it what the real command did with some of them.",
            rows,
        )


def apart(name: str, options: argparse.Namespace) -> Found:
    """Try a format in a process of its own, so that not even a crash ends the others."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        result = Path(folder, "found.json")
        process = multiprocessing.get_context("fork").Process(
            target=_apart, args=(name, FORMATS[name].cases(), options, Path(folder), result)
        )
        process.start()
        process.join()
        if process.exitcode or not result.exists():
            kept = options.keep / f"{_file_name(name)}-crash"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            crash = f"process ended with {process.exitcode}; {kept}"
            return Found(Counter({"unexpected": 1}), 0.0, {"crash": crash})
        told = json.loads(result.read_text())
        return Found(Counter(told["ends"]), told["slowest_s"], told["places"])


def _apart(
    name: str, cases: list[Case], options: argparse.Namespace, folder: Path, result: Path
) -> None:
    found = fuzz(
        FORMATS[name],
        cases,
        folder,
        inputs=options.inputs,
        commands=options.commands,
        seed=options.seed,
        keep=options.keep / _file_name(name),
    )
    result.write_text(json.dumps(vars(found)))


def fuzz(
    form: Format,
    cases: list[Case],
    folder: Path,
    *,
    inputs: int,
    commands: int = 0,
    seed: int = 0,
    keep: Path | None = None,
) -> Found:
    """Read `inputs` changed cases of a format, some of them by the command as well."""
    found, dice = Found(), Random(seed)
    with _little_memory():
        for case in cases:
            shutil.rmtree(folder / "case", ignore_errors=True)
            write(case, folder / "case")
            form.read(folder / "case")  # what is unchanged must be read, and imports cost time once
        for number in range(inputs if cases else 0):
            case = mutated(form, cases, dice)
            shutil.rmtree(folder / "case")
            write(case, folder / "case")
            bad = _read(form, folder / "case", found)
            if bad is None and form.command and number < commands:
                bad = _command(form.command, folder / "case", found)
            if bad and bad[0] not in found.places:
                found.places[bad[0]] = bad[1]
                if keep:
                    shutil.copytree(
                        folder / "case", f"{keep}-{len(found.places)}", dirs_exist_ok=True
                    )
    return found


def _read(form: Format, folder: Path, found: Found) -> tuple[str, str] | None:
    """Read the case; where that ends unexpectedly, the place it comes from, and why."""
    start_s = time.process_time()
    bad = None
    try:
        with _little_time():
            form.read(folder)
        found.ends["read"] += 1
    except (UserError, ScheduleError):
        found.ends["named"] += 1
    except (Exception, LateError) as error:
        bad = _place(error), f"{type(error).__name__}: {error}"[:300]
        found.ends["unexpected"] += 1
    found.slowest_s = max(found.slowest_s, time.process_time() - start_s)
    return bad


def _place(error: BaseException) -> str:
    """The last line of our sources that an error has passed, and its type."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/firetree/" in f.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "elsewhere"
    return f"{type(error).__name__} at {where}"


def _command(arguments: tuple[str, ...], folder: Path, found: Found) -> tuple[str, str] | None:
    """What the command itself says of the case, forked from here, where everything is imported."""
    found.ends["commands"] += 1
    out = folder.parent / "out"
    child = command(arguments, folder, out)
    deadline_s = time.monotonic() + 120 * LIMIT_S
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline_s:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    code, said = os.waitstatus_to_exitcode(ended[1]), out.read_text(errors="replace")
    if code in (0, 1, 2) and not re.search(
        "Traceback|firetree: unexpected|[\0-\x08\x0b-\x1f]", said
    ):
        return None
    found.ends["bad"] += 1
    return f"command, code {code}", said[-300:]


@contextmanager
def _little_time() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise LateError(f"over {LIMIT_S:g} s")

    for number, timer, limit_s in (
        (signal.SIGPROF, signal.ITIMER_PROF, LIMIT_S),
        (signal.SIGALRM, signal.ITIMER_REAL, 12 * LIMIT_S),
    ):
        signal.signal(number, late)
        signal.setitimer(timer, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _little_memory() -> Iterator[None]:
    """A limit to what the process may have beside what it has already."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    has_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has_bytes + LIMIT_BYTES, before[1]))
    try:
        yield
    finally:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_AS, before)


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    main()
