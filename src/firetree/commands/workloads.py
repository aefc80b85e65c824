"""Options for a model's training step on one machine."""

from __future__ import annotations

from dataclasses import dataclass

from firetree.errors import ArgumentError
from firetree.network import parse_duration


@dataclass(frozen=True)
class WorkloadOptions:
    """The model, its batch, and the computing time of its step."""

    model: str = "squeezenet_v1_1"
    """A network's name, timm:NAME, or module:function that returns a torch module."""
    batch: int = 32
    """Samples a step on each machine."""
    size: int | None = None
    """Height and width of the images; by default the model's."""
    compute: str | None = None
    """Time a machine computes for one step, as in 0.1s; by default measured on this machine."""

    @property
    def compute_s(self) -> float | None:
        """Seconds; None to measure them."""
        if self.compute is None:
            return None
        compute_s = parse_duration(self.compute)
        if not compute_s:
            raise ArgumentError("compute", f"is {self.compute}; expected more than 0")
        return compute_s
