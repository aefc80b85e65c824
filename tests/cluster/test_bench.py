"""`firetree bench allreduce` as a user runs it: alone, under a launcher, and with mistakes."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from command import COMMAND, LIMIT_S, firetree, free_port, start
from ranks import meshed, run_on_ranks

from firetree import collectives
from firetree.bench import measure
from firetree.collectives import Executor
from firetree.commands.main import main
from firetree.errors import ArgumentError, RunFailedError
from firetree.progress import log

BENCH = ("bench", "allreduce")
SHORT = ("--algorithms", "ring,kary_tree:2", "--repeats", 2)


def rows_of(out: str) -> dict[tuple[str, int, int], dict[str, Any]]:
    return {
        (row["algorithm"], row["world_size"], row["size_bytes"]): row for row in json.loads(out)
    }


def test_json_has_a_row_for_each_way_and_size_and_the_page_a_plot(tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    code, out, err = firetree(
        *(*BENCH, "--world-size", "2,1", "--sizes", "4B,64kB", *SHORT),
        *("--rate", "8mbit", "--json", "--html", page),
    )
    assert (code, err) == (0, "")
    rows = rows_of(out)
    names = ("gloo", "ring", "kary_tree:2")
    assert len(json.loads(out)) == len(rows)
    assert rows.keys() == {
        (name, p, size) for name in names for p in (2, 1) for size in (4, 64_000)
    }
    for (name, world_size, size_bytes), row in rows.items():
        chunks = 1 if name == "gloo" else collectives.chunks_for(name, world_size, size_bytes)
        assert row["chunks"] == chunks
        assert 0 < row["least_s"] <= row["median_s"] <= row["most_s"] < 60
        assert row["cpu_s"] > 0
        assert row["ratio_to_gloo"] == 1 or name != "gloo"
        assert row["bound_s"] == (size_bytes / 1e6 if world_size == 2 else 0)
        if world_size == 2:
            assert row["ratio_to_bound"] == pytest.approx(row["median_s"] / row["bound_s"])
    assert "All-reduce: median time" in page.read_text()


def test_among_started_ranks_only_rank_0_prints_a_line_a_row() -> None:
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    shared["MASTER_PORT"] = str(free_port())
    jobs = [
        start(*BENCH, "--sizes", "64kB", *SHORT, environ={**shared, "RANK": str(rank)})
        for rank in range(2)
    ]
    (out, err), others = [job.communicate(timeout=LIMIT_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], err
    heading, *lines = out.splitlines()
    assert heading.split()[:3] == ["ranks", "size", "algorithm"]
    shown = sorted(line.split()[:4] for line in lines)
    assert shown == [["2", "64", "kB", name] for name in ("gloo", "kary_tree:2", "ring")]
    assert others == ("", "")


MISTAKES: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "nothing to measure": (
        ("bench",),
        {},
        "firetree bench has no command; expected one of allreduce, step, time-to-accuracy",
    ),
    "misspelt measurement": (
        ("bench", "allredcue"),
        {},
        "no command 'allredcue'; did you mean 'allreduce'?",
    ),
    "misspelt option": (
        (*BENCH, "--size", "5MB"),
        {},
        "unknown option '--size'; did you mean '--sizes'?",
    ),
    "unknown algorithm": (
        (*BENCH, "--algorithms", "ring,rings"),
        {},
        "no algorithm 'rings'; did you mean 'ring'?",
    ),
    "bad size": ((*BENCH, "--sizes", "5"), {}, "size '5'; expected a number and B, kB, MB or GB"),
    "no ranks": (
        (*BENCH, "--world-size", "0"),
        {},
        "--world-size is 0; expected a number of ranks",
    ),
    "unknown algorithm to explain": (
        (*BENCH, "--explain", "nothing"),
        {},
        "no algorithm 'nothing'",
    ),
    "too many ranks to explain": (
        (*BENCH, "--explain", "ring", "--world-size", "100"),
        {},
        "smaller world size or fewer chunks",
    ),
}


def test_help_says_what_can_be_measured(tmp_path: Path) -> None:
    code, out, err = firetree_loaded(tmp_path, "bench", "--help")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == [
        *("allreduce", "step", "time-to-accuracy")
    ]


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, case: str) -> None:
    arguments, environ, message = MISTAKES[case]
    assert_one_line(*firetree_loaded(tmp_path, *arguments, environ=environ), message)


def firetree_loaded(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """What `firetree` gives, in a process of its own that need not load everything first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "firetree.commands.main"])
    process = context.Process(target=main_into_files, args=(folder, arguments, environ or {}))
    process.start()
    process.join(LIMIT_S)
    assert process.exitcode is not None, "did not end in time"
    return process.exitcode, (folder / "out").read_text(), (folder / "err").read_text()


def main_into_files(folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ |= environ
    sys.argv = ["firetree", *arguments]
    main()


def assert_one_line(code: int, out: str, err: str, message: str) -> None:
    assert (code, out) == (2, ""), err
    assert err.startswith("firetree: ")
    assert err.count("\n") == 1, err
    assert message in err


def complaint_about_more_ranks() -> str:
    settings = measure.Settings(("ring",), (8,), (2,), 1, None, False, "cpu", 10.0)
    with pytest.raises(ArgumentError) as failure:
        measure._measure(settings, log)
    return str(failure.value)


def test_more_ranks_than_were_started_are_refused() -> None:
    expected = "world_size is 2 on 1 ranks; expected no more than there are"
    assert run_on_ranks(1, complaint_about_more_ranks) == [expected]


def complaint_about_a_broadcast(sizes_bytes: tuple[int, ...]) -> list[str]:
    """Let each size be summed by a broadcast, which loses what all but rank 0 hold."""
    group = dist.group.WORLD
    assert group is not None
    executor = Executor(collectives.build("binomial_tree", 2, 1, "broadcast"), meshed())
    contestant = measure._Contestant(executor.run, chunks=1)
    complaints = []
    for size_bytes in sizes_bytes:
        with pytest.raises(RunFailedError) as failure:
            measure._take_turn("broadcast", contestant, group, size_bytes, "cpu")
        complaints.append(str(failure.value))
    return complaints


@pytest.mark.parametrize("sizes_bytes", [(8, 64_000), (4,)])
def test_a_way_that_gives_a_wrong_sum_is_named(sizes_bytes: tuple[int, ...]) -> None:
    assert run_on_ranks(2, complaint_about_a_broadcast, sizes_bytes) == [
        [f"broadcast gave a wrong sum on rank {rank}, {size} bytes" for size in sizes_bytes]
        for rank in range(2)
    ]


def test_an_algorithm_is_explained_step_by_step_and_as_a_page_in_the_current_folder(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [*COMMAND, *BENCH, "--explain", "binomial_tree", "--world-size", "8"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^step (\d)", done.stdout, re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]
    assert done.stdout.endswith("\nAnimated page: binomial_tree-8.html\n")
    assert [path.name for path in tmp_path.iterdir()] == ["binomial_tree-8.html"]
    assert "binomial_tree" in (tmp_path / "binomial_tree-8.html").read_text()
