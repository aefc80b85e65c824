"""A model as data: its network's name, weights, preprocessing and classes.

Modules beside this one read it from each format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from firetree import models
from firetree.errors import UserError
from firetree.modelfiles.preprocessing import Preprocessing
from firetree.models.families import STARTING, SqueezeNetModel
from firetree.progress import Progress, log
from firetree.shown import Shown

_DESCRIPTION, _CLASSES = "firetree", "classes"
"""Keys of a file's metadata: the model's description, and its classes' names, both in JSON."""

_OF_TRAINING = ("name", *STARTING, "batch_norm")
FIELDS = tuple(it.name for it in fields(SqueezeNetModel) if it.name not in _OF_TRAINING)
"""Fields of a recipe's model that change a network for images, once normalisation is folded in."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LARGEST_FIELD = 4096
"""No known model has more filters, and a forged one must be refused quickly."""
_MOST_ACTIVATIONS = 1 << 32
"""Most filters of the widest convolution times pixels of an image. Activations grow with both although the
file does not; this limits them to some 4 GB, since only narrow layers read every pixel."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Model(Shown):
    """Everything needed to predict classes of images.

    Example:
        >>> model = firetree.Model.load("net.safetensors")
        >>> x_BCHW = torch.zeros(2, 1, 8, 8)
        >>> model.build()(x_BCHW).shape
        torch.Size([2, 10])
    """

    network: str
    """One of `models.names()`."""
    state: Mapping[str, Tensor]
    """Tensors in float32 by our names, in the network's order."""
    preprocessing: Preprocessing
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields in which the network differs from the named one, as `models.build` takes them."""
    classes: tuple[str, ...] = ()
    """The classes' names; empty where the source has none."""
    notes: tuple[str, ...] = ()
    """What its reader assumed, chose or left out."""

    @staticmethod
    def load(path: str | Path, *, progress: Progress = log) -> Model:
        """As `firetree.modelfiles.load_model`."""
        from firetree.modelfiles.loading import load_model

        return load_model(path, progress=progress)

    def __repr__(self) -> str:
        return f"Model({self.network}, {self.parameter_count:,} parameters, {self.class_count} classes)"

    @property
    def parameter_count(self) -> int:
        """The number of parameters in all tensors, without statistics of batch normalisation."""
        return sum(it.numel() for name, it in self.state.items() if ".running_" not in name)

    @property
    def class_count(self) -> int:
        """The outputs of the last layer; 0 for a model without weights."""
        return next((len(last) for last in [*self.state.values()][-1:] if last.dim()), 0)

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for every class: numbers where the source has no names."""
        return self.classes or tuple(f"class {k}" for k in range(self.class_count))

    def build(self) -> nn.Module:
        """The network in evaluation mode, with these weights.

        Raises:
            UserError: the weights do not fit the network.
        """
        channels, size = len(self.preprocessing.mean), self.preprocessing.crop
        hollow = _hollow(self.network, self.fields, self.class_count, channels, size)
        check_shapes(self.network, self.state, _shapes(hollow))
        hollow.load_state_dict(dict(self.state), assign=True)
        return hollow.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def example(self, size: int | None = None) -> Tensor:
        """x_BCHW of one empty image, by default of the model's own size."""
        side = size or self.preprocessing.crop
        return torch.zeros(1, len(self.preprocessing.mean), side, side)


def shapes(
    network: str, fields: Mapping[str, Any], classes: int, channels: int, size: int
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of such a network, by name and in order, without building it.

    Raises:
        UserError: no such network.
    """
    return _shapes(_hollow(network, fields, classes, channels, size))


def kept(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors that its outputs depend on: all but the counts of batches that were seen."""
    return {name: it for name, it in state.items() if not name.endswith("num_batches_tracked")}


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(it.shape) for name, it in kept(network.state_dict()).items()}


def shapes_of(described: Model, classes: int) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the described model with so many classes.

    Raises:
        UserError: no such network, or one whose images would need too much memory.
    """
    channels, size = len(described.preprocessing.mean), described.preprocessing.crop
    by_name = shapes(described.network, described.fields, classes, channels, size)
    filters = max((shape[0] for shape in by_name.values() if len(shape) == 4), default=1)
    if filters * size**2 > _MOST_ACTIVATIONS:
        raise UserError(
            f"{filters:,} filters for images of {size} pixels a side; expected at most "
            f"{isqrt(_MOST_ACTIVATIONS // filters)} pixels, for which there is memory"
        )
    return by_name


def check(model: Model) -> None:
    """Refuse a model that cannot predict.

    Raises:
        UserError: weights that do not fit the network or are not finite, or another number of class
            names than of classes.
    """
    classes = model.class_count
    check_shapes(model.network, model.state, shapes_of(model, classes))
    for name, tensor in model.state.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{name} holds NaN or infinity; expected finite weights, as of a run that did not "
                "diverge"
            )
    if len(model.classes) not in (0, classes):
        raise UserError(
            f"the model names {len(model.classes)} classes; expected {classes}, as its last "
            "layer has"
        )


def check_shapes(
    network: str, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors of other names or shapes.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape.
    """
    for name in expected.keys() | state.keys():
        shape = tuple(state[name].shape) if name in state else "nothing"
        if shape != expected.get(name, "nothing"):
            raise UserError(
                f"weights of {network}: {shape} for {name}; expected "
                f"{expected.get(name, 'nothing')}"
            )


def describe(model: Model) -> dict[str, Any]:
    """The model without weights and class names, ready for JSON."""
    return {
        "network": model.network,
        "fields": dict(model.fields),
        "preprocessing": asdict(model.preprocessing),
    }


def metadata(model: Model) -> dict[str, str]:
    """The model without its weights, as metadata of safetensors and ONNX files."""
    return {
        _DESCRIPTION: json.dumps(describe(model)),
        _CLASSES: json.dumps(model.classes),
    }


def from_metadata(properties: Mapping[str, str], source: str) -> Model | None:
    """The model that `metadata` described, without weights; None where firetree did not write the file.

    Raises:
        UserError: a description that is damaged, or by another version.
    """
    if _DESCRIPTION not in properties:
        return None
    try:
        description = json.loads(properties[_DESCRIPTION])
        classes = json.loads(properties.get(_CLASSES, "[]"))
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("class names that are no texts")
    except (ValueError, RecursionError) as error:
        raise UserError(f"the description in {source} is damaged: {error}") from error
    return from_description(description, classes)


def from_description(description: Any, classes: Sequence[str]) -> Model:
    """The model that `describe` described, without weights.

    Raises:
        UserError: a description that is damaged, or by another version.
    """
    try:
        network, own = str(description["network"]), dict(description["fields"])
        given = description["preprocessing"]
        names = {entry.name for entry in fields(Preprocessing)}
        if given.keys() != names or network not in models.names():
            raise ValueError(f"network {network!r}, preprocessing {sorted(given)}")
        if any(_UNPRINTABLE.search(name) for name in classes):
            raise ValueError("class names with signs that steer a terminal")
        for name, value in own.items():
            is_small = isinstance(value, str) or abs(value) <= _LARGEST_FIELD
            if name not in (*FIELDS, "conv10_padding") or not is_small:
                raise ValueError(f"fields {own}")
        preprocessing = Preprocessing(
            int(given["resize"]),
            bool(given["squash"]),
            int(given["crop"]),
            given["order"],
            tuple(map(float, given["mean"])),
            tuple(map(float, given["std"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"the model's description is damaged: {' '.join(str(error).split())}"
        ) from error
    return Model(network, {}, preprocessing, own, tuple(classes))


_FILLS = ("kaiming_uniform_", "uniform_", "normal_", "constant_", "zeros_", "fill_", "zero_")


class _NoFirstWeights(TorchFunctionMode):
    """Skips first weights: tensors without memory have nothing to fill."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _hollow(
    network: str, own: Mapping[str, Any], classes: int, channels: int, size: int
) -> nn.Module:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"), _NoFirstWeights():
            return models.build(network, classes=classes, channels=channels, size=size, **own)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no network {network} with {dict(own)}: {' '.join(str(error).split())}"
        ) from error
