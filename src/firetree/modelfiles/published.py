"""A published model as data: which network, its weights, how pictures become its input, its classes.

Readers beside this file make one from each format; `build` turns it into a network that is ready.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from firetree import models
from firetree.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Order = Literal["RGB", "BGR"]

_DESCRIPTION, _CLASSES = "firetree", "classes"
"""Keys of a file's metadata: the model's description, and its classes' names, both in JSON."""

_LARGEST_PIXELS = 4096

FIELDS = ("base_e", "incr_e", "freq", "pct_3x3", "squeeze_ratio", "bypass", "dropout")
"""Fields of a recipe's model that change a network for pictures."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LARGEST_FIELD = 4096
"""No model of more filters is known, and one that is made up shall not take long to refuse."""
_MOST_ACTIVATIONS = 1 << 32
"""Filters of the widest convolution times pixels of a picture. A file grows with neither, but what layers
give does: at most some 4 GB, as only narrow layers read a picture's every pixel."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes a network's input: scaled, cut, (value - mean) / std of each channel.

    Raises:
        UserError: a value outside its range.
    """

    resize: int
    """Pixels of both sides where `squash`, else of the shorter one."""
    squash: bool
    """Whether the picture's proportions are given up."""
    crop: int
    """Pixels a side of the square that is cut from the centre."""
    order: Order
    """Of the channels."""
    mean: tuple[float, ...]
    """Of each channel in that order, where 255 is white; one number for grey."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("resize", self.crop <= self.resize <= _LARGEST_PIXELS, f"crop to {_LARGEST_PIXELS}"),
            ("crop", self.crop >= 1, "1 or more"),
            ("order", self.order in get_args(Order), "RGB or BGR"),
            ("mean", len(self.mean) in (1, 3) and bool(np.isfinite(self.mean).all()), "1 or 3"),
            (
                "std",
                len(self.std) == len(self.mean) and all(0 < one < np.inf for one in self.std),
                "above 0",
            ),
        ):
            if not right:
                raise UserError(
                    f"preprocessing.{name} = {getattr(self, name)}; expected {expected}"
                )

    def apply(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """x_HWC of a picture of mode L or RGB: its pixels, before mean and std."""
        from PIL.Image import Resampling

        image = image.convert("RGB" if len(self.mean) == 3 else "L")
        width, height = image.size
        if self.squash:
            width = height = self.resize
        else:
            scale = self.resize / min(width, height)
            width, height = round(width * scale), round(height * scale)
        # The centre alone is computed; what is cut off is never made.
        across, down = image.width / width, image.height / height
        left, top = (width - self.crop) // 2 * across, (height - self.crop) // 2 * down
        box = (left, top, left + self.crop * across, top + self.crop * down)
        size = (self.crop, self.crop)
        scaled = image.resize(size, Resampling.BILINEAR, box=box)
        x_HWC = np.asarray(scaled).reshape(*size, len(self.mean))
        return x_HWC[:, :, ::-1].copy() if self.order == "BGR" else x_HWC.copy()

    def normalise(self, x_BHWC: npt.NDArray[np.uint8]) -> Tensor:
        """x_BCHW in float32, with channels side by side in memory."""
        x = torch.from_numpy(x_BHWC).float()
        x = (x - torch.tensor(self.mean)) / torch.tensor(self.std)
        return x.permute(0, 3, 1, 2)


CAFFE = Preprocessing(256, True, 227, "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
"""Of the SqueezeNets that their authors published."""

TORCHVISION = Preprocessing(
    256, False, 224, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
)
"""Of torchvision's models for ImageNet."""


_GREY = {"RGB": (0.299, 0.587, 0.114), "BGR": (0.114, 0.587, 0.299)}
"""Parts of each channel in the brightness that Pillow's mode L has (ITU-R 601-2)."""


def for_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """The same for grey pictures where a network has one channel, by the mean colour's brightness.

    Raises:
        UserError: other channels than 1 or 3.
    """
    if channels == len(preprocessing.mean):
        return preprocessing
    if channels != 1:
        raise UserError(f"the first layer reads {channels} channels; expected 3, or 1 for grey")
    mean, std = (
        round(sum(p * v for p, v in zip(_GREY[preprocessing.order], values, strict=True)), 3)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return replace(preprocessing, mean=(mean,), std=(std,))


def in_words(preprocessing: Preprocessing) -> str:
    """What is done to a picture, in one line."""
    scaled = "both sides" if preprocessing.squash else "the shorter side"
    mean, std = (" ".join(f"{v:g}" for v in row) for row in (preprocessing.mean, preprocessing.std))
    colours = preprocessing.order if len(preprocessing.mean) == 3 else "grey"
    return (
        f"{scaled} to {preprocessing.resize} pixels, the {preprocessing.crop} in the centre, "
        f"{colours}, mean {mean}, deviation {std} of 255"
    )


@dataclass(frozen=True, slots=True)
class Published:
    """Everything needed to predict. `state` are float32 tensors by our names."""

    network: str
    """One of `models.names()`."""
    state: Mapping[str, Tensor]
    preprocessing: Preprocessing
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the network has otherwise than the named one, as `models.build` takes it."""
    classes: tuple[str, ...] = ()
    """The classes' names; empty where the source has none."""
    notes: tuple[str, ...] = ()
    """What its reader has assumed, chosen or left out, to be told to the user."""

    @property
    def class_count(self) -> int:
        """Numbers that the last layer gives."""
        return next(iter(list(self.state.values())[-1].shape), 0)

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for every class: numbers where the source has no names."""
        return self.classes or tuple(f"class {k}" for k in range(self.class_count))


def shapes(
    network: str, fields: Mapping[str, Any], classes: int, channels: int, size: int
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of such a network, by name and in order, without building it.

    Raises:
        UserError: no such network.
    """
    hollow = _hollow(network, fields, classes, channels, size)
    return {name: tuple(tensor.shape) for name, tensor in hollow.state_dict().items()}


def shapes_of(described: Published, classes: int) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that the described model has with so many classes.

    Raises:
        UserError: no such network, or one that would need too much memory for its pictures.
    """
    channels, size = len(described.preprocessing.mean), described.preprocessing.crop
    found = shapes(described.network, described.fields, classes, channels, size)
    filters = max((shape[0] for shape in found.values() if len(shape) == 4), default=1)
    if filters * size**2 > _MOST_ACTIVATIONS:
        raise UserError(
            f"{filters:,} filters for pictures of {size} pixels a side; expected at most "
            f"{isqrt(_MOST_ACTIVATIONS // filters)} pixels, for which there is memory"
        )
    return found


def check(published: Published) -> None:
    """Refuse a model that cannot predict.

    Raises:
        UserError: weights that do not fit the network or are not finite, or another number of class
            names than of classes.
    """
    classes = published.class_count
    check_shapes(published.network, published.state, shapes_of(published, classes))
    for name, tensor in published.state.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{name} holds NaN or infinity; expected finite weights, as of a run that did not "
                "diverge"
            )
    if len(published.classes) not in (0, classes):
        raise UserError(
            f"the model names {len(published.classes)} classes; expected {classes}, as its last "
            "layer has"
        )


def build(published: Published) -> nn.Module:
    """The network in evaluation mode, with these weights.

    Raises:
        UserError: the weights do not fit the network.
    """
    preprocessing = published.preprocessing
    channels, size = len(preprocessing.mean), preprocessing.crop
    hollow = _hollow(published.network, published.fields, published.class_count, channels, size)
    expected = {name: tuple(tensor.shape) for name, tensor in hollow.state_dict().items()}
    check_shapes(published.network, published.state, expected)
    hollow.load_state_dict(dict(published.state), assign=True)
    return hollow.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def example(published: Published, size: int | None = None) -> Tensor:
    """x_BCHW of one empty picture, of the model's own size where none is given."""
    side = size or published.preprocessing.crop
    return torch.zeros(1, len(published.preprocessing.mean), side, side)


def check_shapes(
    network: str, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors of other names or shapes.

    Raises:
        UserError: naming the first tensor that is missing, too much, or of another shape.
    """
    for name in expected.keys() | state.keys():
        found = tuple(state[name].shape) if name in state else "nothing"
        if found != expected.get(name, "nothing"):
            raise UserError(
                f"weights of {network}: {found} for {name}; expected "
                f"{expected.get(name, 'nothing')}"
            )


def describe(published: Published) -> dict[str, Any]:
    """All but weights and class names, ready for JSON."""
    return {
        "network": published.network,
        "fields": dict(published.fields),
        "preprocessing": asdict(published.preprocessing),
    }


def metadata(published: Published) -> dict[str, str]:
    """All but the weights, as texts that safetensors and ONNX files have room for."""
    return {
        _DESCRIPTION: json.dumps(describe(published)),
        _CLASSES: json.dumps(published.classes),
    }


def from_metadata(told: Mapping[str, str], source: str) -> Published | None:
    """The model that `metadata` told of, without weights; None where a file is not ours.

    Raises:
        UserError: damaged, or by another version.
    """
    if _DESCRIPTION not in told:
        return None
    try:
        description = json.loads(told[_DESCRIPTION])
        classes = json.loads(told.get(_CLASSES, "[]"))
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("class names that are no texts")
    except (ValueError, RecursionError) as error:
        raise UserError(f"the description in {source} is damaged: {error}") from error
    return from_description(description, {}, classes)


def from_description(
    description: Any, state: Mapping[str, Tensor], classes: Sequence[str]
) -> Published:
    """The model that `describe` described.

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
        if not all(name in (*FIELDS, "conv10_padding") and _small(own[name]) for name in own):
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
    return Published(network, state, preprocessing, own, tuple(classes))


def _small(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, int | float) and abs(value) <= _LARGEST_FIELD
    )


_FILLS = ("kaiming_uniform_", "uniform_", "normal_", "constant_", "zeros_", "fill_", "zero_")


class _NoFirstWeights(TorchFunctionMode):
    """Leaves out what fills tensors: without memory there is nothing to fill."""

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
