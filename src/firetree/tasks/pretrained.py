"""Training that starts from a model's weights: images as they expect, a new last layer, layers kept as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from firetree.data import Splits
from firetree.errors import UserError, nearest
from firetree.modelfiles.loading import load_model
from firetree.modelfiles.model import Model, kept
from firetree.modelfiles.preprocessing import WHITE
from firetree.models.families import ModelRecipe, Pretrainable
from firetree.models.layer_names import backbone

_FREE = ("dropout", "conv10_padding")
"""Fields of a model that training may have otherwise: no shape of a weight follows from them."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Weights to start from, for colours in the order of red, green and blue.

    `mean` and `std` are each channel's, with 0 black and 1 white; `size` is what images had a side.
    `checksum` is of all weights.
    """

    source: str
    model: Model
    freeze: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checksum: str

    @property
    def size(self) -> int:
        return self.model.preprocessing.crop

    def keeps_head(self, classes: tuple[str, ...]) -> bool:
        """Whether the last layer is for these classes, as far as anybody has named them."""
        return self.model.class_count == len(classes) and self.model.classes in ((), classes)

    def adapt(self, splits: Splits) -> Splits:
        """The images with the mean and deviation that the weights expect.

        Raises:
            UserError: they have other channels.
        """
        if splits.channels != len(self.mean):
            raise UserError(
                f"data.channels = {splits.channels}; expected {len(self.mean)}, as model.weights reads them"
            )
        head = "its last layer stays"
        if not self.keeps_head(splits.classes):
            head = f"its last layer is new, for {len(splits.classes)} classes"
        remarks = f"training starts from {self.source}; {head}", *self.model.notes
        account = replace(splits.account, remarks=(*splits.account.remarks, *remarks))
        return replace(splits, mean=self.mean, std=self.std, account=account)

    def load_into(self, network: nn.Module, classes: tuple[str, ...]) -> None:
        """Give a network these weights, and freeze what is to stay.

        Raises:
            UserError: the weights are another network's, or nothing is left to train.
        """
        heads = self._heads(network.state_dict(), len(classes))
        new = frozenset[str]() if self.keeps_head(classes) else heads
        own, theirs = _without(kept(network.state_dict()), new), _without(self.model.state, new)
        for name in sorted(own.keys() | theirs.keys()):
            expected, found = (
                tuple(it[name].shape) if name in it else "nothing" for it in (own, theirs)
            )
            if expected != found:
                raise UserError(
                    f"model.weights = {self.source} has {found} for {name}; expected {expected}, as the network "
                    "to train; give the fields of model, and data.size, that the weights were trained with"
                )
        network.load_state_dict(theirs, strict=False)
        self._freeze(network)

    def _heads(self, own: Mapping[str, Tensor], classes: int) -> frozenset[str]:
        """The tensors of the last layer, and of auxiliary classifiers for other classes."""
        theirs, count = self.model.state, self.model.class_count
        auxiliary = {
            name
            for name, tensor in own.items()
            if name in theirs
            and tensor.shape != theirs[name].shape
            and (len(tensor), len(theirs[name])) == (classes, count)
        }
        return frozenset(own.keys() - backbone(own) | auxiliary)

    def _freeze(self, network: nn.Module) -> None:
        parameters = dict(network.named_parameters())
        for pattern in self.freeze:
            every = pattern == "features"
            frozen = backbone(parameters) if every else _matching(pattern, parameters)
            if not frozen:
                layers = {"features", *(name.partition(".")[0] for name in parameters)}
                raise UserError(
                    f"model.freeze: the network has no layer {pattern!r}{nearest(pattern, layers)}"
                )
            for name in frozen:
                parameters[name].requires_grad_(False)
        if not any(it.requires_grad for it in parameters.values()):
            raise UserError(
                "model.freeze leaves nothing to train; expected at least the last layer"
            )


def read_pretrained(recipe: ModelRecipe) -> Pretrained | None:
    """What a recipe's model starts from; None where it starts from first weights.

    Raises:
        UserError: as `load_model`, or the weights are of another network than the recipe's.
    """
    if not isinstance(recipe, Pretrainable) or recipe.weights is None:
        return None
    source = recipe.weights
    try:
        model = load_model(source, progress=lambda _: None)
    except UserError as error:
        raise UserError(f"model.weights: {error}") from error
    if model.network != recipe.name:
        raise UserError(
            f"model.weights = {source} is {model.network}; expected model.name = {model.network}, not "
            f"{recipe.name}"
        )
    own = asdict(recipe)
    shaping = [name for name in model.fields if name not in _FREE]
    if differing := [name for name in shaping if own.get(name) != model.fields[name]]:
        told = ", ".join(f"{name} = {model.fields[name]}" for name in differing)
        raise UserError(f"model.weights = {source} has {told}; expected the same under model")
    patterns = tuple(filter(None, map(str.strip, (recipe.freeze or "").split(","))))
    model = _in_rgb(model)
    mean, std = (
        tuple(it / WHITE for it in channels)
        for channels in (model.preprocessing.mean, model.preprocessing.std)
    )
    return Pretrained(str(source), model, patterns, mean, std, _checksum(model.state))


def _in_rgb(model: Model) -> Model:
    """The same function of an image whose channels are red, green and blue."""
    before = model.preprocessing
    if before.order == "RGB" or len(before.mean) == 1:
        return model
    state = dict(model.state)
    first = next(name for name, tensor in state.items() if tensor.dim() == 4)
    state[first] = state[first].flip(1)
    after = replace(before, order="RGB", mean=before.mean[::-1], std=before.std[::-1])
    return replace(model, state=state, preprocessing=after)


def _checksum(state: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _without(named: Mapping[str, Any], left_out: Iterable[str]) -> dict[str, Any]:
    out = frozenset(left_out)
    return {name: it for name, it in named.items() if name not in out}


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """A layer's tensors: by its name, the name of a layer that it is in, or a pattern of either."""
    return [
        name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
    ]
