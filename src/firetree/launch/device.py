"""The device of each worker: a GPU of its own, or its share of the CPU's cores."""

from __future__ import annotations

from typing import Literal

import torch

from firetree.errors import UserError
from firetree.launch.rank_info import RankInfo
from firetree.peers import gather_json

Wanted = Literal["auto", "cpu", "cuda"]

CPU = torch.device("cpu")


def find_device(wanted: Wanted, rank_info: RankInfo) -> torch.device:
    """This worker's device; all ranks call it together, and get the same kind.

    `auto` gives each worker a GPU if every host has enough, else the CPU.

    Raises:
        UserError: `cuda` is wanted, and some host has fewer GPUs than workers.
    """
    if wanted == "cpu":
        return CPU
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mine = f"rank {rank_info.rank}'s host has {gpus} GPUs for {rank_info.local_world_size} workers"
    lacking = gather_json(mine if gpus < rank_info.local_world_size else None)
    first = next(filter(None, lacking), None)
    if first is None:
        device = torch.device("cuda", rank_info.local_rank)
        torch.cuda.set_device(device)
        return device
    if wanted == "cuda":
        raise UserError(
            f"device = cuda, but {first} that PyTorch {torch.__version__} can use; "
            "start fewer workers there, or do without device = cuda"
        )
    return CPU
