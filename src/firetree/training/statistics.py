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
    for statistic in running(model).values():
        dist.all_reduce(statistic, group=group)
        statistic.div_(group.size())


def running(model: nn.Module) -> dict[str, Tensor]:
    """The running statistics by name, as they are in the model."""
    return {name: statistic for name, _, statistic in _statistics(model)}


def forget_spoiled(model: nn.Module) -> None:
    """Begin anew where a step that is left out has put numbers that are not finite."""
    for _, norm, statistic in _statistics(model):
        if not torch.isfinite(statistic).all():
            norm.reset_running_stats()


def _statistics(model: nn.Module) -> Iterator[tuple[str, _BatchNorm, Tensor]]:
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            for name in ("running_mean", "running_var"):
                statistic = getattr(module, name)
                if statistic is not None:
                    yield f"{path}.{name}", module, statistic
