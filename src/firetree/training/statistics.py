"""What batch normalisation has seen: each worker's own samples, until someone looks at the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


@torch.no_grad()
def share(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Let all ranks go on with the mean of their running statistics; all call it together."""
    for _, statistic in _statistics(model):
        dist.all_reduce(statistic, group=group)
        statistic.div_(group.size())


def forget_spoiled(model: nn.Module) -> None:
    """Begin anew where a step that is left out has put numbers that are not finite."""
    for norm, statistic in _statistics(model):
        if not torch.isfinite(statistic).all():
            norm.reset_running_stats()


def _statistics(model: nn.Module) -> Iterator[tuple[_BatchNorm, Tensor]]:
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    yield module, statistic
