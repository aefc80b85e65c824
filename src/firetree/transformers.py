"""Hugging Face's Trainer with our sums: `Trainer(…, callbacks=[firetree.transformers.Callback()])`."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from firetree.errors import UserError
from firetree.extras import extra
from firetree.planning.plan import Plan
from firetree.sync import attach

with extra("transformers", "train with transformers"):
    from transformers import TrainerCallback

_LOG = logging.getLogger("firetree")


class Callback(TrainerCallback):  # type: ignore[misc]  # of transformers, which mypy does not read
    """Attaches a Trainer's model when training begins. With one process there is nothing to sum.

    Args:
        algorithm, compression, timeout_s, run_dir: as `firetree.attach` takes them.

    Raises:
        UserError: transformers is not installed; or, when training begins, the Trainer does not use DDP.

    Example:
        >>> trainer = transformers.Trainer(model, callbacks=[firetree.transformers.Callback("ring")])
    """

    def __init__(
        self,
        algorithm: str | Plan = "auto",
        *,
        compression: str = "none",
        timeout_s: float | None = None,
        run_dir: str | PathLike[str] | None = None,
    ):
        self._attach = partial(
            attach,
            algorithm=algorithm,
            compression=compression,
            timeout_s=timeout_s,
            run_dir=run_dir,
        )
        self._attached: Callable[[], DistributedDataParallel | None] = lambda: None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module, **others: object
    ) -> None:
        """Attach what wraps `model`; the Trainer keeps it when it trains a second time."""
        if args.world_size == 1:
            _LOG.warning("firetree.transformers.Callback: one process, so there is nothing to sum")
            return
        wrapped = _wrapped(model)
        if wrapped is not self._attached():
            self._attach(wrapped)
            self._attached = weakref.ref(wrapped)


def _wrapped(model: nn.Module) -> DistributedDataParallel:
    # A callback is given the bare model, and nothing that leads to what the Trainer wrapped it in.
    models: list[DistributedDataParallel] = [
        it for it in gc.get_objects() if issubclass(type(it), DistributedDataParallel)
    ]
    around = [it for it in models if it.module is model]
    if not around:
        raise UserError(
            "the Trainer has not wrapped its model in DDP; expected neither FSDP nor DeepSpeed"
        )
    return around[-1]
