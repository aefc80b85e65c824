"""A training step as numbers, without torch: when gradients are ready, and each layer's bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Gradient:
    """One parameter's gradient: its bytes, and when it is ready after the backward pass's start.

    `shape` is the parameter's, where it is known.
    """

    name: str
    size_bytes: int
    ready_s: float
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """The computation of one step on one host; gradients in the order in which they become ready."""

    forward_s: float
    backward_s: float
    gradients: tuple[Gradient, ...]

    @property
    def compute_s(self) -> float:
        """Forward and backward pass together."""
        return self.forward_s + self.backward_s

    @property
    def size_bytes(self) -> int:
        """|W|: what is summed in a step."""
        return sum(gradient.size_bytes for gradient in self.gradients)

    def scaled(self, compute_s: float) -> Profile:
        """The same step, scaled to `compute_s` seconds in all."""
        factor = compute_s / self.compute_s
        gradients = tuple(replace(g, ready_s=g.ready_s * factor) for g in self.gradients)
        return Profile(self.forward_s * factor, self.backward_s * factor, gradients)

    def resized(self, factor: float) -> Profile:
        """The same computation with gradients of `factor` times the bytes."""
        gradients = tuple(
            replace(g, size_bytes=max(4, round(g.size_bytes * factor))) for g in self.gradients
        )
        return replace(self, gradients=gradients)


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """A layer with parameters: bytes of its weights, and of its activations for the whole batch."""

    name: str
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One step of a model on one host with `samples`; activations are those of its whole batch."""

    model: str
    profile: Profile
    layers: tuple[LayerSizes, ...]
    samples: int
