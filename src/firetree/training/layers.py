"""The layers of each of DDP's buckets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from torch.nn.parallel import DistributedDataParallel

from firetree.torch_private import grad_buckets

BucketLayers = Mapping[int, tuple[str, ...]]
"""For each bucket, by its index, the names of its layers."""

_MOST_NAMES = 8


def layers_by_bucket(parallel: DistributedDataParallel) -> BucketLayers:
    """The layers of each bucket, those with the most bytes first."""
    layer_of = {
        id(parameter): name.rpartition(".")[0] or name
        for name, parameter in parallel.module.named_parameters()
    }
    return {
        bucket.index(): tuple(
            islice(
                dict.fromkeys(
                    layer_of[id(it)]
                    for it in sorted(bucket.parameters(), key=lambda it: -it.nbytes)
                ),
                _MOST_NAMES,
            )
        )
        for bucket in grad_buckets(parallel)
    }
