"""The network that a user named or gave: one of ours, one that a function returns, or a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from firetree import models, own_code
from firetree.errors import ArgumentError, UserError, nearest
from firetree.models import glimpses, language, recurrent, seq2seq, timm_networks
from firetree.models.classic import SMALLEST_SIZE
from firetree.models.families import NORMALISED
from firetree.models.inputs import Inputs, batch_of
from firetree.own_code import is_timm

PUBLISHED_SIZES = {
    "squeezenet_small": 32,
    **dict.fromkeys(("googlenet", "vgg16", "vgg19", *NORMALISED), 224),
}
"""Pixels a side of networks that do not have the usual 227."""

RETRIEVAL = 37, 11
"""Symbols of associative retrieval, and steps of a sequence."""

PHONEMES = 31, 41, 8
"""Symbols of words and of phonemes in the CMU Pronouncing Dictionary, and steps of a usual word."""

TEXT = 256, 128
"""Bytes, and those of a sample of text."""

OWN_SIZE = 224
"""Pixels a side of the images for a user's own network."""


def resolve(
    model: str | Callable[[], Any] | nn.Module,
    batch: int,
    size: int | None,
    example: Inputs | None = None,
) -> tuple[nn.Module, Any]:
    """The network, and a batch for it; one that is built here is in training mode.

    Args:
        model: one of `models.names()`, or `timm:NAME`, built for 1,000 classes (squeezenet_small: 10) of
            colour images; a network of default size for MNIST's glimpses, for associative retrieval (a
            recurrent layer's name), for words and phonemes, or for text in bytes; a function without
            arguments that returns the network, or the network and an example batch; that function as
            `module:function`, looked for in the current directory first; or a network.
        batch: samples in the batch.
        size: pixels a side; None for those of the network's paper (squeezenet_small: 32), and 224 for a
            network of the user's own.
        example: what the network is called with instead of images.

    Returns:
        The network and (batch, 3, size, size) images, other input that it takes, or the example.

    Raises:
        UserError: no such name, module or function; a size for a network of one size; or the function
            failed or gave no network.
    """
    if batch < 1:
        raise ArgumentError("batch", f"is {batch}; expected 1 or more")
    if size is not None and size < SMALLEST_SIZE:
        raise ArgumentError("size", f"is {size}; expected at least {SMALLEST_SIZE} pixels a side")
    if isinstance(model, str) and (is_timm(model) or not own_code.is_own(model)):
        made: object = _ours(model, batch, size)
    else:
        made = model if isinstance(model, nn.Module) else _called(model)
    module, own = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise UserError(f"{name_of(model)} gave {_kind(made)}; expected a torch.nn.Module")
    example = own if example is None else example
    if example is None:
        example = _images(batch, size or OWN_SIZE)
    if not isinstance(example, Tensor | tuple | Mapping) or not batch_of(example):
        raise UserError(
            f"{name_of(model)} has {_kind(example)} as its example; expected a tensor, a tuple or a "
            "mapping, with the batch as the first axis of the first tensor"
        )
    return module, example


def name_of(model: str | Callable[[], Any] | nn.Module) -> str:
    """The model's name as given, or that of its function or class."""
    if isinstance(model, str):
        return model
    return getattr(model, "__name__", type(model).__name__)


def _ours(name: str, batch: int, size: int | None) -> tuple[nn.Module, Tensor]:
    if is_timm(name):
        network = timm_networks.build(name, classes=1000, channels=3)
        return network, _images(batch, size or timm_networks.usual_size(network))
    if name in models.names():
        return _for_images(name, batch, size)
    families = (models, glimpses, recurrent, seq2seq, language)
    known = [each for family in families for each in family.names()]
    if name not in known:
        raise UserError(
            f"no network '{name}'{nearest(name, known)} (one of your own is module:function)"
        )
    if size is not None:
        raise ArgumentError("size", f"is {size}, but {name} has one size of input; leave it out")
    if name in glimpses.names():
        network = glimpses.build(name, classes=10, channels=1, size=glimpses.SIZE)
        return network, torch.zeros(batch, 1, glimpses.SIZE, glimpses.SIZE)
    if name in recurrent.names():
        symbols, steps = RETRIEVAL
        network = recurrent.build(name, symbols=symbols, classes=10, each_step=False)
        return network, torch.zeros(batch, steps, dtype=torch.int64)
    if name in language.names():
        symbols, length = TEXT
        network = language.build(name, symbols=symbols, length=length)
        return network, torch.zeros(batch, length, dtype=torch.int64)
    sources, targets, steps = PHONEMES
    network = seq2seq.build(name, sources=sources, targets=targets)
    return network, torch.ones(batch, 2, steps, dtype=torch.int64)


def _for_images(name: str, batch: int, size: int | None) -> tuple[nn.Module, Tensor]:
    size = size or PUBLISHED_SIZES.get(name, 227)
    classes = 10 if name == "squeezenet_small" else 1000
    module = models.build(name, classes=classes, channels=3, size=size)
    # As in training: convolutions are 1.2 to 1.6 times faster on a CPU.
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, _images(batch, size)


def _images(batch: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=generator)


def _called(model: str | Callable[[], Any]) -> Any:
    """What the function gives."""
    if isinstance(model, str):
        return own_code.make(model, {})
    if not callable(model):
        raise UserError(f"{name_of(model)} is {_kind(model)}; expected a function")
    return own_code.run(name_of(model), model)


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"
