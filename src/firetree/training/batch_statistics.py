"""Running statistics of batch normalisation: each rank's own, averaged when someone looks at the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firetree.training.step_part import StepPart

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class RunningStatistics(StepPart):
    """The statistics of the network and its moving average; `models` are named by their suffixes."""

    def __init__(self, models: Mapping[str, nn.Module], group: dist.ProcessGroup):
        self._models, self._group = models, group

    def forget_step(self) -> None:
        """Reset the statistics that are not finite."""
        for model in self._models.values():
            for _, norm, statistic in _statistics(model):
                if not torch.isfinite(statistic).all():
                    norm.reset_running_stats()

    @torch.no_grad()
    def share(self) -> None:
        """Average the statistics over the ranks."""
        for statistic in self.own().values():
            dist.all_reduce(statistic, group=self._group)
            statistic.div_(self._group.size())

    def own(self) -> dict[str, Tensor]:
        """The statistics, as they are in the models."""
        return {
            f"{name}{suffix}": statistic
            for suffix, model in self._models.items()
            for name, _, statistic in _statistics(model)
        }


def _statistics(model: nn.Module) -> Iterator[tuple[str, _BatchNorm, Tensor]]:
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            for name in ("running_mean", "running_var"):
                statistic = getattr(module, name)
                if statistic is not None:
                    yield f"{path}.{name}", module, statistic
