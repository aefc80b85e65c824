"""Values travel between ranks as data: what one sends, all read alike."""

from __future__ import annotations

import torch
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.peers import broadcast_json, broadcast_tensors, gather_json


def _everything(value_of_rank):
    rank = dist.get_rank()
    tensors = broadcast_tensors(
        {"half": torch.tensor([1.5, float("nan")]).half(), "empty": torch.empty(0)}
        if rank == 0
        else {}
    )
    pairs = dist.new_group([1, 2])
    return (
        gather_json(value_of_rank[rank]),
        broadcast_json(value_of_rank[rank]),
        {name: (str(it.dtype), it.tolist().__repr__()) for name, it in tensors.items()},
        broadcast_json(rank, pairs) if rank else None,
    )


def test_each_rank_gets_the_values_of_all_and_of_the_first():
    values = [{"räte": [1, 2.5, None, True]}, "", ["x" * 100_000]]
    for rank, (gathered, first, tensors, of_pair) in enumerate(
        run_on_ranks(3, _everything, values)
    ):
        assert gathered == values
        assert first == values[0]
        assert tensors == {
            "half": ("torch.float16", "[1.5, nan]"),
            "empty": ("torch.float32", "[]"),
        }
        assert of_pair == (1 if rank else None)
