"""The layers of a network by the bytes of their gradients, and those of each of DDP's buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.torch_private import grad_buckets
from firetree.trace import MOST_LAYERS, Layer


def largest_layers(model: nn.Module) -> tuple[Layer, ...]:
    """The layers with the most bytes of gradients, those first."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return tuple(Layer(*it) for it in _sizes_bytes(trained).most_common(MOST_LAYERS))


def layers_by_bucket(parallel: DistributedDataParallel) -> Mapping[int, tuple[str, ...]]:
    """For each bucket the names of its layers, those with the most bytes first."""
    name_of = {id(p): name for name, p in parallel.module.named_parameters()}
    return {
        bucket.index(): tuple(
            name
            for name, _ in _sizes_bytes(
                [(name_of[id(p)], p) for p in bucket.parameters()]
            ).most_common()
        )
        for bucket in grad_buckets(parallel)
    }


def _sizes_bytes(named: Iterable[tuple[str, Tensor]]) -> Counter[str]:
    """Bytes by layer; a parameter of the network itself has a layer of its own name."""
    sizes_bytes = Counter[str]()
    for name, parameter in named:
        sizes_bytes[name.rpartition(".")[0] or name] += parameter.nbytes
    return sizes_bytes
