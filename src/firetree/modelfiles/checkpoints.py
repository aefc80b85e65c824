"""Find the state dict in what others have saved, without its containers and name prefixes.

A checkpoint holds the weights under some key, beside an optimizer, options and perhaps a moving average.
DistributedDataParallel, torch.compile and Lightning prefix each tensor's name. The prefix to leave out is
the one after which one of our networks fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from firetree import models
from firetree.errors import UserError
from firetree.modelfiles.kinds import network_like
from firetree.modelfiles.layers import as_floats, assumed, recognise, refusal, with_biases
from firetree.modelfiles.model import Model, kept, shapes
from firetree.modelfiles.preprocessing import CAFFE, TORCHVISION, Preprocessing, for_channels
from firetree.modelfiles.pth import Inert
from firetree.modelfiles.published import TORCHVISION_FIELDS, caffe_layers, torchvision_layers
from firetree.models.batch_norm import folded
from firetree.models.families import NORMALISED

_FIRST = ("state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which weights are looked for first."""

_WRAPPERS = re.compile(
    r"(^|\.)(module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)"
)
"""Modules without weights of their own that PyTorch wraps around others, at any depth."""

_LAYOUTS: tuple[
    tuple[Callable[[Iterable[str]], list[str]], Preprocessing, Mapping[str, Any]], ...
] = (
    (torchvision_layers, TORCHVISION, TORCHVISION_FIELDS),
    (caffe_layers, CAFFE, {}),
)
_DEEPEST = 4
_SMALL_SIZE = 32
_SMALL = replace(TORCHVISION, resize=_SMALL_SIZE, crop=_SMALL_SIZE)
_EXPECTED = "expected weights, as torch.save(model.state_dict(), …) writes them"


def read_checkpoint(held: object, source: str) -> Model:
    """The model in a file's content: a state dict, or containers around one.

    Args:
        source: what to call the file in an error.

    Raises:
        UserError: no weights, or of none of our networks; the text says what they look like.
    """
    states = sorted(_states("", held, 0), key=lambda state: _rank(state[0]))
    if not states:
        raise UserError(f"cannot read {source}: it {_instead_of_weights(held)}; {_EXPECTED}")
    for key, state in states:
        model = _read_state(state, source)
        if model is not None:
            others = ", ".join(f"'{other}'" for other, _ in states if other != key)
            notes = [f"took '{key}', not {others}"] if others else []
            return replace(model, notes=(*notes, *model.notes))
    _, state = states[0]
    layers = with_biases(state, [n.removesuffix(".weight") for n in state if n.endswith(".weight")])
    raise refusal(layers, source, network_like(state), NORMALISED)


def _states(key: str, held: object, depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The state dicts within containers, each with the keys that lead to it."""
    if not isinstance(held, Mapping) or depth > _DEEPEST:
        return
    tensors = {n: t for n, t in held.items() if isinstance(n, str) and isinstance(t, Tensor)}
    if any(name.endswith("weight") for name in tensors):
        yield key, tensors
    for name, inner in held.items():
        if isinstance(name, str):
            yield from _states(f"{key}.{name}" if key else name, inner, depth + 1)


def _rank(key: str) -> tuple[bool, int]:
    """Weights come before their moving average, and usual keys before others."""
    usual = [_FIRST.index(part) for part in key.split(".") if part in _FIRST]
    return _is_average(key), min(usual, default=len(_FIRST) if key else -1)


def _is_average(key: str) -> bool:
    return "ema" in key.lower()


def _instead_of_weights(held: object) -> str:
    inside = list(held.values()) if isinstance(held, Mapping) else []
    for value in (held, *inside):
        if isinstance(value, Inert):
            return f"holds a pickled object, {value.named}, whose code firetree does not run"
    if any("param_groups" in value for value in (held, *inside) if isinstance(value, Mapping)):
        return "holds an optimizer's state without a model"
    if isinstance(held, Mapping):
        return f"holds no state dict, but {', '.join(map(repr, list(held)[:5])) or 'nothing'}"
    return f"holds no state dict, but a {type(held).__name__}"


def _read_state(state: Mapping[str, Tensor], source: str) -> Model | None:
    """The model whose tensors' names follow some prefix; None where no network of ours fits."""
    bare = {_WRAPPERS.sub("", name).lstrip("."): tensor for name, tensor in state.items()}
    fitting = {prefix: fit for prefix in _prefixes(bare) if (fit := _fit(bare, prefix, source))}
    if not fitting:
        return None
    (prefix, (model, used)), *others = fitting.items()
    notes = [f"took '{prefix}', not '{other}'" for other, _ in others]
    left_out = [name for name in kept(bare) if name not in used]
    if left_out:
        some = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        notes.append(f"left out {len(left_out)} tensors that {model.network} lacks: {some}")
    return replace(model, notes=(*notes, *model.notes))


def _prefixes(names: Mapping[str, Tensor]) -> list[str]:
    """Prefixes of a first layer's name, empty or ending with a dot: averages last, then by length."""
    prefixes = {
        name[: -len(first)]
        for first in _first_layers()
        for name in names
        if name.endswith(first) and name[: -len(first)][-1:] in ("", ".")
    }
    return sorted(prefixes, key=lambda prefix: (_is_average(prefix), len(prefix), prefix))


@cache
def _first_layers() -> tuple[str, ...]:
    own_first = {_tensor_names(name, TORCHVISION.crop)[0] for name in models.names()}
    return ("features.0.weight", *sorted(own_first))


def _fit(names: Mapping[str, Tensor], prefix: str, source: str) -> tuple[Model, set[str]] | None:
    """The model after a prefix, and the names of its tensors.

    An unknown tensor within one of the network's own modules means another network. Other unknown tensors
    may belong to a loss or a metric.
    """
    state = kept({n.removeprefix(prefix): t for n, t in names.items() if n.startswith(prefix)})
    try:
        model, used = _recognised(state)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    modules = {re.split(r"[./]", name)[0] for name in used}
    if model is None or any(re.split(r"[./]", n)[0] in modules for n in state.keys() - used):
        return None
    return model, {prefix + name for name in used}


def _recognised(state: Mapping[str, Tensor]) -> tuple[Model | None, set[str]]:
    model = _own(state)
    if model is not None:
        return model, {n for n in state if n in model.state or ".norm." in n}
    for layers_of, preprocessing, fields in _LAYOUTS:
        layers = with_biases(state, layers_of(state))
        model = recognise(layers, preprocessing, fields)
        if model is not None:
            return model, {f"{name}.{kind}" for name in layers for kind in ("weight", "bias")}
    return None, set()


def _own(state: Mapping[str, Tensor]) -> Model | None:
    """The model with these tensors, its batch normalisation folded; None for other networks.

    Of two that fit, one is a part of the other, as ResNet-18 is of ResNet-34: the larger one is meant.

    Raises:
        UserError: tensors that are not floats, or other channels than 1 or 3.
    """
    plain = folded(state)
    fitting = [model for network in models.names() if (model := _as(network, plain))]
    return max(fitting, key=lambda model: len(model.state), default=None)


def _as(network: str, plain: Mapping[str, Tensor]) -> Model | None:
    """The model of this network.

    Weights do not determine the image size: it is 224 pixels a side where that fits, else 32.
    """
    for preprocessing in (_SMALL,) if network == "squeezenet_small" else (TORCHVISION, _SMALL):
        names = _tensor_names(network, preprocessing.crop)
        if not plain.keys() >= {*names}:
            return None
        first, last = plain[names[0]], plain[names[-1]]
        if first.dim() != 4 or last.dim() != 1 or not first.shape[1] or not len(last):
            return None
        expected = shapes(network, {}, len(last), first.shape[1], preprocessing.crop)
        if all(tuple(plain[name].shape) == shape for name, shape in expected.items()):
            prepared = for_channels(preprocessing, first.shape[1])
            tensors = {name: as_floats(name, plain[name]) for name in names}
            return Model(network, tensors, prepared, notes=(assumed(prepared),))
    return None


@cache
def _tensor_names(network: str, size: int) -> tuple[str, ...]:
    return tuple(shapes(network, {}, 1, 3, size))
