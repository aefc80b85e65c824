"""Accelerate with our sums: `firetree.accelerate.attach(accelerator)` before `accelerator.prepare`.

An accelerator has one handler for DDP: it asks it for DDP's arguments, and lets it register a hook for each
model that it has wrapped. So we take its place.
"""

from __future__ import annotations

import logging
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch.nn.parallel import DistributedDataParallel

from firetree import sync
from firetree.errors import UserError
from firetree.planning.plan import Plan

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

_LOG = logging.getLogger("firetree")
_WRAPS = {"MULTI_CPU", "MULTI_GPU"}


class _Handler:
    """An accelerator's handler for DDP; `before` is the one that it had."""

    def __init__(self, before: DistributedDataParallelKwargs | None, attach: partial[Any]):
        self._before, self._attach = before, attach

    def to_kwargs(self) -> dict[str, Any]:
        return {} if self._before is None else self._before.to_kwargs()

    def register_comm_hook(self, model: DistributedDataParallel) -> None:
        self._attach(model)


def attach(
    accelerator: Accelerator,
    algorithm: str | Plan = "auto",
    *,
    compression: str = "none",
    timeout_s: float | None = None,
    run_dir: str | PathLike[str] | None = None,
) -> None:
    """Attach every model that an accelerator prepares from now on.

    Call it on every process. One that is alone prepares as before.

    Args:
        accelerator: it has prepared no model yet.
        algorithm, compression, timeout_s, run_dir: as `firetree.attach` takes them.

    Raises:
        UserError: the accelerator has prepared a model, does not train by DDP, or its
            `DistributedDataParallelKwargs` have a communication hook.

    Example:
        >>> accelerator = accelerate.Accelerator()
        >>> firetree.accelerate.attach(accelerator, "ring")
        >>> model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    """
    kind = accelerator.distributed_type.name
    if kind == "NO":
        _LOG.warning("firetree.accelerate.attach: one process, so there is nothing to sum")
        return
    if kind not in _WRAPS:
        raise UserError(f"the accelerator trains by {kind}; expected DDP, {' or '.join(_WRAPS)}")
    if accelerator._models:
        raise UserError(
            "the accelerator has prepared a model already; call firetree.accelerate.attach before "
            "accelerator.prepare, or firetree.attach with the model"
        )
    before = accelerator.ddp_handler
    if before is not None and str(before.comm_hook) != "no":
        raise UserError(
            f"the accelerator's DistributedDataParallelKwargs have comm_hook '{before.comm_hook}'; "
            "expected none, and compression= of firetree.accelerate.attach"
        )
    options = partial(
        sync.attach,
        algorithm=algorithm,
        compression=compression,
        timeout_s=timeout_s,
        run_dir=run_dir,
    )
    accelerator.ddp_handler = _Handler(before, options)
