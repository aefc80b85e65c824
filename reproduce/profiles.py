"""Write `src/firetree/models/profiles.json`: the steps of our own image networks, without torch.

Each network is built at its own image size on the meta device, which computes nothing, and trained for a
step there. A gradient is ready after so many of the backward pass's FLOPs (matrix products and
convolutions).

    python reproduce/profiles.py
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

import firetree
from firetree import models
from firetree.models.cost import FLOAT_BYTES, cost
from firetree.models.resolve import resolve

FILE = Path(firetree.__file__).with_name("models") / "profiles.json"


def course(name: str) -> dict[str, Any]:
    """What the file has of a network."""
    module, example = resolve(name, 1, None)
    layers = [
        [layer.name, layer.weight_bytes, layer.activations * FLOAT_BYTES]
        for layer in cost(module, example).layers
        if layer.weight_bytes
    ]
    module, example = module.to("meta"), example.to("meta")
    counter, ready = FlopCounterMode(display=False), dict[str, int]()

    def arrive(name: str, _: object) -> None:
        ready[name] = counter.get_total_flops()

    parameters = dict(module.named_parameters())
    for parameter_name, parameter in parameters.items():
        parameter.register_post_accumulate_grad_hook(partial(arrive, parameter_name))
    with counter:
        loss = models.total(module(example))
        forward = counter.get_total_flops()
        loss.backward()
        total = counter.get_total_flops()
    gradients = [
        [name, list(parameters[name].shape), round((at - forward) / (total - forward), 4)]
        for name, at in ready.items()
    ]
    return {"forward": round(forward / total, 4), "gradients": gradients, "layers": layers}


def main() -> None:
    """Write the file, a line a network."""
    lines = (f"{json.dumps(name)}: {json.dumps(course(name))}" for name in models.names())
    FILE.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
