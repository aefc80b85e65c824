"""Lightning's DDP strategy with our sums: `Trainer(strategy=firetree.lightning.Strategy())`."""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import Any

from firetree.extras import extra
from firetree.planning.plan import Plan
from firetree.sync import attach

with extra("lightning", "train with Lightning"):
    from lightning.pytorch.strategies import DDPStrategy


class Strategy(DDPStrategy):  # type: ignore[misc]  # Lightning's, which mypy does not read
    """Lightning's DDP strategy, whose model is attached as soon as it is wrapped.

    Args:
        algorithm, compression, timeout_s, run_dir: as `firetree.attach` takes them.
        **options: of `lightning.pytorch.strategies.DDPStrategy`, also those that it gives to DDP.

    Raises:
        UserError: Lightning is not installed.

    Example:
        >>> trainer = lightning.Trainer(devices=2, strategy=firetree.lightning.Strategy("ring"))
    """

    def __init__(
        self,
        algorithm: str | Plan = "auto",
        *,
        compression: str = "none",
        timeout_s: float | None = None,
        run_dir: str | PathLike[str] | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        self._attach = partial(
            attach,
            algorithm=algorithm,
            compression=compression,
            timeout_s=timeout_s,
            run_dir=run_dir,
        )

    def configure_ddp(self) -> None:
        """Wrap the model, and attach it."""
        super().configure_ddp()
        self._attach(self.model)
