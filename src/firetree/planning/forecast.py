"""`firetree.plan`: the speed-up of more machines, which to use, the plan for these, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firetree.errors import ArgumentError
from firetree.models.profile import Workload
from firetree.models.workload import load_workload
from firetree.network import Network
from firetree.planning.advice import advise
from firetree.planning.changes import Change, changes_for
from firetree.planning.plan import Plan, make_plan
from firetree.planning.scaling import ForecastPoint, fastest, scaling
from firetree.planning.subsets import Subset
from firetree.progress import Progress, log
from firetree.shown import Shown

if TYPE_CHECKING:
    from torch import nn

    from firetree.models.inputs import Inputs


@dataclass(frozen=True, slots=True, repr=False)
class Forecast(Shown):
    """The predictions for a model on a network.

    A point has the best hosts of each number. `plan` is for `hosts`, the fastest of these, whose rank r is
    `hosts[r]`; for all hosts where one machine alone is fastest. `advice` says so in sentences, `changes`
    has what would be faster than that, by gain for effort.
    """

    workload: Workload
    network: Network
    points: tuple[ForecastPoint, ...]
    hosts: Subset
    plan: Plan
    changes: tuple[Change, ...]
    advice: tuple[str, ...]

    def __repr__(self) -> str:
        speedups = ", ".join(f"{point.world_size}: {point.speedup:.2f}" for point in self.points)
        return f"Forecast({self.workload.model}, speed-up by hosts {{{speedups}}})"


def plan(
    model: str | Callable[[], Any] | nn.Module,
    network: str | Path | Network = "8 x 1gbit",
    *,
    batch: int = 32,
    size: int | None = None,
    compute_s: float | None = None,
    example: Inputs | None = None,
    max_loss: float | None = None,
    progress: Progress = log,
) -> Forecast:
    """Predict what 1, 2 … machines bring for a model on a network, and how to synchronise them.

    Args:
        model: a network's name, `module:function`, a function that returns a network, or a network.
        network: one line such as `4 x 10gbit | 4 x 10gbit / 1gbit`, the path of a network's JSON, or a
            `Network`, as `probe` measures it.
        batch: samples a step on each machine; it stays the same for any number of machines.
        size: height and width of images in pixels; None for the model's default.
        compute_s: seconds a machine computes for one step; None to measure it on this one.
        example: the model's inputs: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        max_loss: most points of accuracy that a change may have cost where it was measured; changes that were
            not measured are left out then, too. None to tell all changes.
        progress: called with one line for each stage.

    Returns:
        A point for each number of machines, the plan for the fastest, and what would be faster.

    Raises:
        UserError: no such model or network, the model cannot be trained on its inputs, or `max_loss` is
            below 0.

    Example:
        >>> found = firetree.plan("squeezenet_v1_1", "2 x 100mbit", compute_s=0.3)
        >>> found
        Forecast(squeezenet_v1_1, speed-up by hosts {1: 1.00, 2: 1.09})
        >>> found.plan.choice_for(1_000_000).algorithm
        'gloo'
        >>> net = torch.nn.Linear(8, 2)
        >>> firetree.plan(net, "4 x 1gbit", example=torch.randn(32, 8))
        Forecast(Linear, ...)
    """
    if max_loss is not None and not max_loss >= 0:
        raise ArgumentError("max_loss", f"is {max_loss:g}; expected points, 0 or more")
    found = network if isinstance(network, Network) else Network.load(network)
    workload = load_workload(model, batch=batch, size=size, compute_s=compute_s, example=example)
    return forecast(workload, found, progress, max_loss)


def forecast(
    workload: Workload,
    network: Network,
    progress: Progress = log,
    max_loss: float | None = None,
) -> Forecast:
    """Like `plan`, for a workload that is already loaded."""
    model, profile = workload.model, workload.profile
    subsets = scaling(model, profile, network, progress)
    best = fastest(subsets)
    used = best if len(best.hosts) > 1 else subsets[-1]
    made = make_plan(model, profile, used.prices)
    subsets = [replace(it, plan=made) if it is used else it for it in subsets]
    progress("predicting other batches, models, compressions and links")
    changes = changes_for(profile, network, subsets)
    if max_loss is not None:
        changes = tuple(it for it in changes if it.is_known_to_cost_at_most(max_loss))
    advice = advise(profile, network, subsets, changes, workload.layers)
    points = tuple(it.point for it in subsets)
    return Forecast(workload, network, points, used.hosts, made, changes, tuple(advice))
