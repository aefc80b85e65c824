"""`firetree inspect`: parameters and operations of each layer, or its bytes in a `.fire`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from firetree import output
from firetree.commands.arguments import parse
from firetree.commands.text.layers import as_text
from firetree.modelfiles.fire.file import FireFile
from firetree.modelfiles.inspection import Inspection, inspect


@dataclass(frozen=True)
class InspectOptions:
    """Parameters, operations and activations of a network and of each of its layers."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = "squeezenet_v1_1"
    """A network's name, timm:NAME, module:function that returns a torch module, a .fire, a file of weights
    or a run's folder."""
    size: int | None = None
    """Height and width of the images; by default the model's."""
    batch: int = 1
    """The batch size for counting activations."""
    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> None:
    options = parse(InspectOptions, "firetree inspect", arguments)
    found = inspect(options.model, options.size, options.batch, progress=output.tell)
    output.show(json.dumps(_as_dict(found), indent=1) if options.json else as_text(found))


def _as_dict(found: Inspection | FireFile) -> dict[str, object]:
    if isinstance(found, FireFile):
        return {
            "network": found.network,
            "file_bytes": len(found.content),
            "other_numbers": found.other_numbers,
            "layers": [asdict(layer) for layer in found.layers],
        }
    return {
        "model": found.model,
        "batch": found.batch,
        "parameters": found.parameters,
        "weight_bytes": found.cost.weight_bytes,
        "activation_bytes": found.activation_bytes,
        "flops": found.cost.flops,
        "layers": [asdict(layer) for layer in found.cost.layers],
    }
