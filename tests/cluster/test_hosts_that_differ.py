"""Hosts on which the command, recipe or data differ end together, each with the same line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import free_port, start

from firetree.training import load_recipe, recipe_toml


def images(path: Path, count: int) -> Path:
    x_NHW, y_N = np.zeros((count, 8, 8), np.uint8), np.arange(count) % 2
    np.savez(path, train_x=x_NHW, train_y=y_N, test_x=x_NHW, test_y=y_N)
    return path


def recipe_of(path: Path, *changed: str) -> Path:
    path.write_text(recipe_toml(load_recipe("digits")).replace(*changed or ("", "")))
    return path


def commands(case: str, folder: Path) -> list[list[object]]:
    """What is typed on each of two hosts."""
    npz = ("fashion-squeezenet", "--data.path")
    return {
        "rate": [["digits"], ["digits", "--optim.lr", 0.01]],
        "batch": [["digits"], ["digits", "--optim.batch-size", 32]],
        "steps": [["digits", "--optim.steps", 3], ["digits", "--optim.steps", 20]],
        "network": [["digits"], ["digits", "--model.squeeze-ratio", 0.5]],
        "algorithm": [["digits"], ["digits", "--sync.algorithm", "ring"]],
        "one line of two files": [
            [recipe_of(folder / "a.toml")],
            [recipe_of(folder / "b.toml", "momentum = 0.9", "momentum = 0.8")],
        ],
        "data": [[*npz, images(folder / "a.npz", 200)], [*npz, images(folder / "b.npz", 198)]],
        "no data": [[*npz, images(folder / "a.npz", 200)], [*npz, folder / "none.npz"]],
        "no recipe": [["digits"], [folder / "none.toml"]],
    }[case]


@pytest.mark.parametrize(
    ("case", "begin"),
    [
        ("rate", "optim.lr is 0.1 on rank 0 (host "),
        pytest.param("batch", "optim.batch_size is 64 on rank 0", marks=pytest.mark.slow),
        pytest.param("steps", "optim.steps is 3 on rank 0", marks=pytest.mark.slow),
        pytest.param("network", "model.squeeze_ratio is None on", marks=pytest.mark.slow),
        pytest.param("algorithm", "sync.algorithm is 'binomial", marks=pytest.mark.slow),
        pytest.param("one line of two files", "optim.momentum is 0.9", marks=pytest.mark.slow),
        ("data", "data.training samples is 200 on rank 0"),
        pytest.param("no data", "rank 1 (host ", marks=pytest.mark.slow),
        ("no recipe", "rank 1 (host "),
    ],
)
def test_hosts_that_differ_are_told_apart_before_anything_is_trained(
    tmp_path: Path, case: str, begin: str
) -> None:
    shared = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    ranks = [
        start(
            *("train", *typed, "--run-dir", tmp_path / "run", "--checkpoint-steps", 1),
            environ={**shared, "RANK": str(rank)},
        )
        for rank, typed in enumerate(commands(case, tmp_path))
    ]
    ends = [rank.communicate(timeout=90) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2], ends
    assert ends[0][1] == ends[1][1]
    assert ends[0][1].startswith(f"firetree: {begin}")
    assert ends[0][1].count("\n") == 1
    assert not (tmp_path / "run").exists()
