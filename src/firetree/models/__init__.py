"""Networks by name, what they cost and how long they take. Names that need torch import it when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.lazy import lazily

if TYPE_CHECKING:
    from firetree.models.images import build, is_of_one_form, names, parameter_count
    from firetree.models.outputs import Outputs, summed_loss, tensors, total

__all__ = [
    "Outputs",
    "build",
    "is_of_one_form",
    "names",
    "parameter_count",
    "summed_loss",
    "tensors",
    "total",
]

__getattr__ = lazily(
    __name__,
    dict.fromkeys(("build", "is_of_one_form", "names", "parameter_count"), "images")
    | dict.fromkeys(("Outputs", "summed_loss", "tensors", "total"), "outputs"),
)
