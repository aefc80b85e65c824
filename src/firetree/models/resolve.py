"""A network from what the user typed: one of ours by name, or a function of the user's own."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

import torch
from torch import Tensor, nn

from firetree import models
from firetree.errors import UserError, nearest
from firetree.models import glimpses, recurrent, seq2seq
from firetree.models.sizes import SMALLEST_SIZE

PUBLISHED_SIZES = {"googlenet": 224, "squeezenet_small": 32, "vgg16": 224, "vgg19": 224}
"""Pixels a side, where they are not the 227 of the other networks."""

RETRIEVAL = 37, 11
"""Symbols of associative retrieval, and steps of a sequence."""

PHONEMES = 31, 41, 8
"""Symbols of words and of phonemes in the CMU Pronouncing Dictionary, and steps of a usual word."""

OWN_SIZE = 224
"""Pixels a side of the pictures that a function's network gets."""


def resolve(name_or_path: str, batch: int, size: int | None) -> tuple[nn.Module, Tensor]:
    """The network, new and in training mode, and a batch of random numbers for it.

    Args:
        name_or_path: one of `models.names()`, built for 1,000 classes (squeezenet_small: 10) of
            colour pictures; one of the networks for MNIST's glimpses, for associative retrieval
            (a recurrent layer's name) or for words and phonemes, of default size; or
            `module:function`, where the module is looked for in the current directory first, and the
            function takes nothing and returns the network, or the network and an example batch.
        batch: samples in the batch.
        size: pixels a side; None for those of the network's paper (squeezenet_small: 32), and 224
            for a function's network. A function's own example batch stays as it is.

    Returns:
        The network and (batch, 3, size, size) pictures, other input that it takes, or the function's
        own example.

    Raises:
        UserError: no such name, module or function, a size for what has one size or none, or the
            function failed or gave no network.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch} samples; expected at least 1")
    if size is not None and size < SMALLEST_SIZE:
        raise UserError(f"images of {size} pixels; expected at least {SMALLEST_SIZE} a side")
    if ":" not in name_or_path:
        return _ours(name_or_path, batch, size)
    made = _call(name_or_path)
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise UserError(f"{name_or_path} gave {_kind(made)}; expected a torch.nn.Module")
    if example is None:
        example = _pictures(batch, size or OWN_SIZE)
    if not isinstance(example, Tensor) or example.dim() == 0 or len(example) == 0:
        raise UserError(
            f"{name_or_path} gave {_kind(example)} as the example; expected a tensor with the batch "
            "as its first axis"
        )
    return module, example


def _ours(name: str, batch: int, size: int | None) -> tuple[nn.Module, Tensor]:
    if name in models.names():
        return _for_pictures(name, batch, size)
    known = (*models.names(), *glimpses.names(), *recurrent.names(), *seq2seq.names())
    if name not in known:
        raise UserError(
            f"no network '{name}'{nearest(name, known)} (one of your own is module:function)"
        )
    if size is not None:
        raise UserError(f"--size {size}, but {name} has one size of input; leave it out")
    if name in glimpses.names():
        network: nn.Module = glimpses.build(name, classes=10, channels=1, size=glimpses.SIZE)
        return network, torch.zeros(batch, 1, glimpses.SIZE, glimpses.SIZE)
    if name in recurrent.names():
        symbols, steps = RETRIEVAL
        network = recurrent.build(name, symbols=symbols, classes=10, each_step=False)
        return network, torch.zeros(batch, steps, dtype=torch.int64)
    sources, targets, steps = PHONEMES
    network = seq2seq.build(name, sources=sources, targets=targets)
    return network, torch.ones(batch, 2, steps, dtype=torch.int64)


def _for_pictures(name: str, batch: int, size: int | None) -> tuple[nn.Module, Tensor]:
    size = size or PUBLISHED_SIZES.get(name, 227)
    classes = 10 if name == "squeezenet_small" else 1000
    module = models.build(name, classes=classes, channels=3, size=size)
    # As in training: convolutions are 1.2 to 1.6 times faster on a CPU.
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, _pictures(batch, size)


def _pictures(batch: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=generator)


def _call(path: str) -> object:
    module_name, _, function_name = path.partition(":")
    module = _import(module_name)
    function = getattr(module, function_name, None)
    if function is None:
        known = [name for name, value in vars(module).items() if callable(value)]
        end = nearest(function_name, known) if known else "; it has no functions at all"
        raise UserError(f"module '{module_name}' has no function '{function_name}'{end}")
    if not callable(function):
        raise UserError(f"{path} is {_kind(function)}; expected a function")
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} failed: {_one_line(error)}") from error


def _import(name: str) -> ModuleType:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module '{name}' in {directory} or among the installed packages; expected "
                "module:function, as in my_network:build"
            ) from error
        raise UserError(f"module '{name}' could not be imported: {_one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"module '{name}' could not be imported: {_one_line(error)}") from error


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
