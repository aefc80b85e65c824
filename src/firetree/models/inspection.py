"""`firetree inspect`: what a network's layers weigh, compute and give."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from torch import Tensor, nn

from firetree import tables
from firetree.errors import UserError
from firetree.models.cost import FLOAT_BYTES, Cost, cost
from firetree.models.resolve import resolve


@dataclass(frozen=True)
class InspectOptions:
    """Parameters, arithmetic and activations of a network and of each of its layers."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = "squeezenet_v1_1"
    """A network's name, module:function that returns a torch module, a .fire, a file of weights or a
    run's folder."""
    size: int | None = None
    """Height and width of the pictures; by default the network's own."""
    batch: int = 1
    """Samples that the activations are counted for."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """|W| and |D| are what data and model parallelism send a worker and a step (FireCaffe)."""

    model: str
    batch: int
    cost: Cost

    @property
    def parameters(self) -> int:
        return self.cost.weight_bytes // FLOAT_BYTES

    @property
    def activation_bytes(self) -> int:
        """|D| for the batch."""
        return self.cost.activation_bytes * self.batch


def inspect(options: InspectOptions) -> Inspection:
    """Send one picture's shape through the network that the options name.

    Raises:
        UserError: no such network, or one that does not take such pictures.
    """
    return inspect_network(options, *resolve(options.model, 1, options.size))


def inspect_network(options: InspectOptions, network: nn.Module, example: Tensor) -> Inspection:
    """The same of a network that is there already, with a batch of one.

    Raises:
        UserError: a network that does not take the example.
    """
    if options.batch < 1:
        raise UserError(f"--batch {options.batch}; expected 1 or more")
    return Inspection(options.model, options.batch, cost(network, example))


def as_json(found: Inspection) -> str:
    """`{"model", "batch", "parameters", "weight_bytes", "activation_bytes", "flops", "layers"}`."""
    return json.dumps(
        {
            "model": found.model,
            "batch": found.batch,
            "parameters": found.parameters,
            "weight_bytes": found.cost.weight_bytes,
            "activation_bytes": found.activation_bytes,
            "flops": found.cost.flops,
            "layers": [asdict(layer) for layer in found.cost.layers],
        },
        indent=1,
    )


def as_text(found: Inspection) -> str:
    """A line a layer, and what they come to."""
    rows = [
        (
            layer.name,
            layer.kind,
            f"{layer.weight_bytes // FLOAT_BYTES:,}",
            f"{layer.flops / 1e6:,.1f}",
            f"{layer.activations * found.batch:,}",
        )
        for layer in found.cost.layers
    ]
    headings = ("layer", "kind", "parameters", "Mflop", "activations")
    table = tables.as_text(headings, rows, left=("layer", "kind"))
    return (
        f"{table}\n\n{found.model}: {found.parameters:,} parameters, "
        f"|W| {found.cost.weight_bytes / 1e6:,.1f} MB; {found.cost.flops / 1e9:.2f} Gflop a sample "
        f"forward; |D| {found.activation_bytes / 1e6:,.1f} MB for a batch of {found.batch}"
    )
