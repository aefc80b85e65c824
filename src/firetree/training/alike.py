"""Checks that all ranks have the same versions, recipe, plan and data, before anything is trained.

Every field of the recipe counts: with most differences a run would train, but badly.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, NoReturn

from firetree.errors import RunFailedError, UserError
from firetree.launch import RankInfo, joined
from firetree.models.families import Pretrainable
from firetree.own_code import source_checksum
from firetree.peers import agree, together
from firetree.planning.plan import Plan
from firetree.tasks import Task
from firetree.training.planning import PlanOrAuto
from firetree.training.recipe import Recipe, own_names
from firetree.training.worker import load_task

_REFUSAL_S = 10.0
"""Seconds in which a rank that cannot begin waits for the others, to tell them why."""


def load_alike(recipe: Recipe, world_size: int, plan: PlanOrAuto, find_lr: bool) -> Task:
    """The task, once all ranks have the same versions, recipe, plan and data; all call it together.

    Raises:
        UserError: on all ranks alike, the first difference, or why some rank cannot begin.
    """

    def describe() -> dict[str, Any]:
        check_world_size(recipe, world_size)
        return {"find_lr": find_lr, "plan": _plan(plan), **description(recipe)}

    agree(together(describe), "run the same command, recipe and versions on every host")
    task = together(lambda: load_task(recipe))
    agree({"data": contents(task)}, "use the same data on every host")
    return task


def description(recipe: Recipe) -> dict[str, Any]:
    """The versions, and the recipe without the paths of data and weights: `contents` compares these."""
    fields = asdict(recipe)
    fields["data"].pop("path", None)
    if isinstance(recipe.model, Pretrainable):
        fields["model"] = asdict(replace(recipe.model, weights=None))
    versions = {f"the version of {name}": version(name) for name in ("firetree", "torch")}
    python = ".".join(platform.python_version_tuple()[:2])
    own = {f"the source of {name}": source_checksum(name) for name in own_names(recipe).values()}
    return {**versions, "the version of Python": python, **fields, **own}


def contents(task: Task) -> Mapping[str, Any]:
    """What identifies the data; their mean and deviation do not, as hosts may round differently."""
    about = {name: it for name, it in task.about.items() if name not in ("mean", "std")}
    return {**about, **task.account.fingerprint}


def _plan(plan: PlanOrAuto) -> dict[str, Any]:
    if isinstance(plan, Plan):
        return {"from": "a file", **json.loads(plan.to_json())}
    return {"from": plan}


def check_world_size(recipe: Recipe, world_size: int) -> None:
    """Raise UserError where some worker would never have a sample."""
    if world_size > recipe.optim.batch_size:
        raise UserError(
            f"{world_size} workers cannot share batches of {recipe.optim.batch_size}; "
            "use fewer workers or a larger optim.batch_size"
        )


def refuse(rank_info: RankInfo, error: UserError) -> NoReturn:
    """Raise the error that keeps this rank from starting, on all ranks."""

    def fail() -> NoReturn:
        raise error

    try:
        with joined(rank_info, _REFUSAL_S):
            together(fail)
    except RunFailedError:  # the others have not come
        pass
    raise error
