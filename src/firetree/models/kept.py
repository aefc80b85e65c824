"""The steps of our own image networks, kept so that no torch is needed to plan with them.

`profiles.json` has, for a network of its own image size, its gradients in the order in which they become
ready. When that is follows from FLOPs: `reproduce/profiles.py` writes the file.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

from firetree.models.profile import Gradient, LayerSizes, Profile, Workload


def kept_workload(model: str, batch: int, compute_s: float) -> Workload | None:
    """The network's workload, stretched to a duration; None where it is not kept."""
    if model not in _kept():
        return None
    kept = _kept()[model]
    forward_s = kept["forward"] * compute_s
    backward_s = compute_s - forward_s
    gradients = (
        Gradient(name, 4 * math.prod(shape), ready * backward_s, tuple(shape))
        for name, shape, ready in kept["gradients"]
    )
    layers = (
        LayerSizes(name, weight_bytes, activation_bytes * batch)
        for name, weight_bytes, activation_bytes in kept["layers"]
    )
    return Workload(model, Profile(forward_s, backward_s, tuple(gradients)), tuple(layers))


@cache
def _kept() -> dict[str, Any]:
    text = files("firetree.models").joinpath("profiles.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
