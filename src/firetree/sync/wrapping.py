"""Attaches every model that a script wraps in DDP, so that the script needs no line of ours."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from firetree.errors import UserError
from firetree.observing import watched_run
from firetree.planning.plan import Plan
from firetree.sync.observed import ObservedSums
from firetree.sync.script import OBSERVE, attach
from firetree.sync.synchroniser import Synchroniser
from firetree.torch_private import check_comm_hook

_LOG = logging.getLogger("firetree")


def attach_when_wrapped(algorithm: str | Plan, run_dir: Path, *, compression: str = "none") -> None:
    """From now on, attach each model as soon as this process wraps it in DDP; call it once.

    A model that cannot be synchronised so keeps DDP's own all-reduce, and the reason is said. A hook that
    the script registers sums in place of both, and is measured.

    Args:
        algorithm: as for `attach`.
        run_dir: as for `attach`.
        compression: as for `attach`.
    """
    wrap, register = DistributedDataParallel.__init__, DistributedDataParallel.register_comm_hook
    attached = WeakKeyDictionary[DistributedDataParallel, Synchroniser | ObservedSums]()

    @functools.wraps(wrap)
    def wrapped(model: DistributedDataParallel, *arguments: Any, **named: Any) -> None:
        wrap(model, *arguments, **named)
        attached[model] = _attach(model, algorithm, run_dir, compression)

    @functools.wraps(register)
    def registered(model: DistributedDataParallel, state: object, hook: Callable[..., Any]) -> None:
        if model not in attached:
            register(model, state, hook)
            return
        check_comm_hook(model, hook)
        name = getattr(hook, "__qualname__", type(hook).__name__)
        if algorithm != OBSERVE:
            _LOG.warning("the script's own hook %s sums the gradients; it is only measured", name)
        attached[model].give_way(functools.partial(hook, state), name)

    _observe_when_sharded(algorithm, run_dir)
    for name, function in {"__init__": wrapped, "register_comm_hook": registered}.items():
        setattr(DistributedDataParallel, name, function)


def _attach(
    model: DistributedDataParallel, algorithm: str | Plan, run_dir: Path, compression: str
) -> Synchroniser | ObservedSums:
    if algorithm != OBSERVE:
        try:
            return attach(model, algorithm, compression=compression, run_dir=run_dir)
        except UserError as error:
            _LOG.warning("%s; DDP's own all-reduce sums this model's gradients", error)
    observed = attach(model, OBSERVE, run_dir=run_dir)
    assert isinstance(observed, ObservedSums)
    return observed


def _observe_when_sharded(algorithm: str | Plan, run_dir: Path) -> None:
    """Observe the first model that `fully_shard` shards, once its outermost module is called."""
    from torch.distributed import fsdp

    shard, waiting = fsdp.fully_shard, list[RemovableHandle]()

    def observe(root: nn.Module, _: object) -> None:
        for handle in waiting:
            handle.remove()
        if watched_run():
            return
        if algorithm != OBSERVE and dist.get_rank() == 0:
            _LOG.warning(
                "FSDP shards the weights of %s: its collectives are only measured; to let firetree sum "
                "gradients, wrap the model in DistributedDataParallel instead",
                type(root).__name__.removeprefix("FSDP"),
            )
        attach(root, OBSERVE, run_dir=run_dir)  # type: ignore[call-overload]

    @functools.wraps(shard)
    def sharded(module: nn.Module, *arguments: Any, **named: Any) -> Any:
        model = shard(module, *arguments, **named)
        waiting.append(module.register_forward_pre_hook(observe, prepend=True))
        return model

    fsdp.fully_shard = sharded  # type: ignore[assignment]
