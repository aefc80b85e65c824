"""What keeps workers from meeting, and options that nothing can be measured with, end in one line."""

from __future__ import annotations

import json
from pathlib import Path

from command import firetree, free_port
from test_device import needs_none
from test_failures import assert_one_line

DIGITS = ("train", "digits", "--optim.steps", 1)


def alone_of_two(port: str) -> dict[str, str]:
    return {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def test_a_network_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, err = firetree(
        *(*DIGITS, "--run-dir", tmp_path / "run"),
        environ={**alone_of_two(str(free_port())), "GLOO_SOCKET_IFNAME": "nowhere0"},
    )
    assert_one_line(code, err, "GLOO_SOCKET_IFNAME=nowhere0 in the environment; expected a network")
    assert "lo" in err


def test_a_rank_0_to_which_nobody_comes_says_so(tmp_path: Path) -> None:
    port = str(free_port())
    code, _, err = firetree(
        *(*DIGITS, "--run-dir", tmp_path / "run", "--sync.timeout-s", 2), environ=alone_of_two(port)
    )
    assert code == 1
    assert err == (
        f"firetree: rank 1 of 2 did not come to 127.0.0.1:{port} within 2 s; "
        "start the same command on every host\n"
    )


def test_without_world_sizes_two_and_four_local_ranks_are_measured() -> None:
    code, out, err = firetree(
        *("bench", "allreduce", "--sizes", "4B", "--algorithms", "ring", "--repeats", 1),
        *("--rate", "1gbit", "--json"),
    )
    assert (code, err) == (0, "")
    assert {(row["algorithm"], row["world_size"]) for row in json.loads(out)} == {
        (name, world_size) for name in ("gloo", "ring") for world_size in (2, 4)
    }


@needs_none
def test_gpus_to_measure_on_that_are_not_there_are_named() -> None:
    code, out, err = firetree("bench", "allreduce", "--device", "cuda", "--world-size", 2)
    assert_one_line(code, err, "device = cuda, but rank 0's host has 0 GPUs for 2 workers")
    assert out == ""


def test_a_step_is_not_replayed_no_times() -> None:
    code, out, err = firetree("bench", "step", "--repeats", 0)
    assert_one_line(code, err, "--repeats is 0; expected 1 or more")
    assert out == ""


def test_a_range_test_says_where_not_even_the_least_rate_can_be_tried(tmp_path: Path) -> None:
    code, out, err = firetree(
        *("train", "associative-retrieval", "--find-lr", "--run-dir", tmp_path / "run"),
        *("--data.examples", 500, "--model.rate", 1e38),
        *("--model.normalise", False, "--model.normalise-first", False),
    )
    assert_one_line(code, err, "the loss or its gradient is not finite at a rate of 1e-05 already")
    assert out == ""
