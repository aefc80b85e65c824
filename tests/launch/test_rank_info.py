"""Each launcher's environment variables give a worker its place."""

from __future__ import annotations

import pytest

from firetree.errors import UserError
from firetree.launch.rank_info import RankInfo, find_rank_info, first_host


@pytest.mark.parametrize(
    ("environ", "rank_info"),
    [
        ({}, None),
        (  # one process, which may start others
            {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "8", "MASTER_PORT": "7"},
            None,
        ),
        (
            {
                "RANK": "3",
                "WORLD_SIZE": "8",
                "LOCAL_WORLD_SIZE": "4",
                "LOCAL_RANK": "2",
                "MASTER_ADDR": "a",
                "MASTER_PORT": "7",
            },
            RankInfo(3, 8, 4, "a", 7, 2),
        ),
        (
            {
                "SLURM_PROCID": "5",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
                "SLURM_STEP_NODELIST": "node[03-05]",
                "SLURM_LOCALID": "1",
            },
            RankInfo(5, 6, 2, "node03", 29500, 1),
        ),
        (  # inside a batch script, before srun: one process, whatever was asked for
            {"SLURM_PROCID": "0", "SLURM_NTASKS": "6"},
            None,
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            },
            RankInfo(1, 2, 2, "127.0.0.1", 29500, 1),
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2", "MASTER_ADDR": "10.0.0.1"},
            RankInfo(1, 4, 2, "10.0.0.1", 29500),
        ),
    ],
)
def test_a_launchers_variables_are_understood(
    environ: dict[str, str], rank_info: RankInfo | None
) -> None:
    assert find_rank_info(environ) == rank_info


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "4", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}, "RANK=4 with WORLD_SIZE=4"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "0"},
            "MASTER_PORT=0 in the environment; expected 1 to 65535",
        ),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": ""},
            "several hosts and no MASTER_ADDR; set it",
        ),
        ({"RANK": "x", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}, "RANK='x' in the environment"),
        ({"RANK": "0", "WORLD_SIZE": "2.5", "MASTER_ADDR": "a"}, "WORLD_SIZE='2.5' in the"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "0", "MASTER_ADDR": "a"},
            "LOCAL_WORLD_SIZE=0 with WORLD_SIZE=2; expected 1 or more",
        ),
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2x"},
            "SLURM_STEP_TASKS_PER_NODE='2x' in the environment",
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2"}, "no MASTER_ADDR; set it"),
    ],
)
def test_variables_that_do_not_fit_are_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        find_rank_info(environ)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("a1,b2", "a1"),
        ("node[03-07,9]", "node03"),
        ("rack2-node[11,13]", "rack2-node11"),
    ],
)
def test_the_first_host_of_a_slurm_list_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
