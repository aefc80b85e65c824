"""The networks by name, and for each family of them the fields that a recipe has.

A field left at None keeps what the named network has. The modules beside this one build the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from firetree.documents import Count, Positive, from_document
from firetree.fields import Arguments, BelowOne, OwnName, Part, Share


@dataclass(frozen=True, slots=True)
class Pretrainable:
    """A network that training may start from pretrained weights."""

    name: str
    weights: str | None = None
    """Model file or run folder with pretrained weights to start from; for other classes the last layer
    is new."""
    freeze: str | None = None
    """Layers to freeze, as conv1,fire2*, or features for all but the last layer."""


STARTING = tuple(entry.name for entry in fields(Pretrainable)[1:])
"""Fields that say what training starts from, and nothing of the network."""


@dataclass(frozen=True, slots=True)
class SqueezeNetModel(Pretrainable):
    """A SqueezeNet."""

    name: Literal["squeezenet_small", "squeezenet_v1_0", "squeezenet_v1_1"] = "squeezenet_small"
    base_e: Positive | None = None
    """Expand filters of the first fire module."""
    incr_e: Count | None = None
    """Expand filters added every `freq` fire modules."""
    freq: Positive | None = None
    """Fire modules between two additions."""
    pct_3x3: Part | None = None
    """Share of the expand filters that are 3x3."""
    squeeze_ratio: Share | None = None
    """Squeeze filters for each expand filter (SR)."""
    bypass: Literal["none", "simple", "complex"] | None = None
    """Bypass connections around fire modules."""
    batch_norm: bool | None = None
    """Batch normalisation, over the samples that a worker computes at once."""
    dropout: BelowOne | None = None
    """Dropout probability before the classifier."""


@dataclass(frozen=True, slots=True)
class ConvolutionsModel(Pretrainable):
    """A network for images that FireCaffe trained, or was compared with."""

    name: Literal[
        "alexnet", "alexnet_grouped", "alexnet_one_tower", "googlenet", "nin", "vgg16", "vgg19"
    ]
    dropout: BelowOne | None = None
    """Dropout probability before the classifier."""


@dataclass(frozen=True, slots=True)
class ResNetModel(Pretrainable):
    """A ResNet."""

    name: Literal["resnet18", "resnet34", "resnet50"]


@dataclass(frozen=True, slots=True)
class MobileNetModel(Pretrainable):
    """A MobileNet."""

    name: Literal["mobilenet_v2", "mobilenet_v3_small"]
    dropout: BelowOne | None = None
    """Dropout probability before the classifier."""


@dataclass(frozen=True, slots=True)
class _Recurrent:
    name: str
    hidden: Positive | None = None
    """Units of the recurrent layer."""


_Layer = Literal["associative_lstm", "gru", "irnn", "lstm"]
_Looker = Literal[
    "convnet", "glimpses_associative_lstm", "glimpses_gru", "glimpses_irnn", "glimpses_lstm"
]


@dataclass(frozen=True, slots=True)
class RecurrentModel(_Recurrent):
    """A recurrent layer, alone or behind glimpses; or the network that sees the whole image."""

    name: Literal[_Layer, _Looker]


@dataclass(frozen=True, slots=True)
class DeltaModel(_Recurrent):
    """Fast weights that are written by the delta rule."""

    name: Literal["delta", "glimpses_delta"]
    heads: Positive | None = None
    """Heads of the delta rule."""


@dataclass(frozen=True, slots=True)
class _FastWeights(_Recurrent):
    inner_steps: int | None = None
    """Inner steps of fast weights (S)."""
    decay: float | None = None
    """What fast weights keep from step to step (λ)."""
    rate: float | None = None
    """How much of a state is written into fast weights (η)."""


@dataclass(frozen=True, slots=True)
class FastWeightsModel(_FastWeights):
    """A recurrent layer with fast weights."""

    name: Literal["fast_weights"]
    normalise: bool | None = None
    """Layer normalisation in the inner steps of fast weights."""
    normalise_first: bool | None = None
    """The same where the inner steps start."""
    learned: bool | None = None
    """Whether decay and rate are learned."""


@dataclass(frozen=True, slots=True)
class RoundsModel(_FastWeights):
    """Fast weights that integrate rounds of glimpses."""

    name: Literal["glimpses_fast_weights"]


@dataclass(frozen=True, slots=True)
class _Seq2Seq:
    name: str
    hidden: Positive | None = None
    """Width of the whole network."""
    parameters: Positive | None = None
    """About how many it has, where hidden does not say; None for 1,000,000."""
    dropout: BelowOne | None = None
    """Dropout probability, of embeddings too."""


@dataclass(frozen=True, slots=True)
class Seq2SeqModel(_Seq2Seq):
    """A network from text to text: an LSTM, alone or with attention."""

    name: Literal["seq2seq_lstm", "seq2seq_attention"]


@dataclass(frozen=True, slots=True)
class Seq2SeqHeadsModel(_Seq2Seq):
    """A network from text to text with heads."""

    name: Literal["seq2seq_transformer", "seq2seq_delta"]
    heads: Positive | None = None
    """Heads of the transformer or of the delta rule."""


@dataclass(frozen=True, slots=True)
class Seq2SeqFastWeightsModel(_Seq2Seq):
    """A network from text to text with fast weights."""

    name: Literal["seq2seq_fast_weights"]
    inner_steps: int | None = None
    """Inner steps of fast weights (S)."""
    rate: float | None = None
    """How much of a state is written into fast weights (η)."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A network of the user's own, or one of timm's."""

    name: OwnName
    """The function or class that gives it, as in mine:net; or timm:NAME."""
    arguments: Arguments = field(default_factory=dict)
    """What that is called with, as in {width = 64}."""


@dataclass(frozen=True, slots=True)
class _Language:
    name: str
    layers: Positive | None = None
    """Blocks, one after the other."""
    hidden: Positive | None = None
    """Width of the whole network."""
    dropout: BelowOne | None = None
    """Dropout probability, of embeddings too."""


@dataclass(frozen=True, slots=True)
class LanguageModel(_Language):
    """A language model of recurrent layers."""

    name: Literal["lm_associative_lstm", "lm_gru", "lm_irnn", "lm_lstm"]


@dataclass(frozen=True, slots=True)
class LanguageHeadsModel(_Language):
    """A language model with heads: a GPT, or the delta rule."""

    name: Literal["gpt", "lm_delta"]
    heads: Positive | None = None
    """Heads of each block."""


@dataclass(frozen=True, slots=True)
class LanguageFastWeightsModel(_Language):
    """A language model of recurrent layers with fast weights."""

    name: Literal["lm_fast_weights"]
    inner_steps: int | None = None
    """Inner steps of fast weights (S)."""
    decay: float | None = None
    """What fast weights keep from step to step (λ)."""
    rate: float | None = None
    """How much of a state is written into fast weights (η)."""


ModelRecipe = (
    SqueezeNetModel
    | ConvolutionsModel
    | ResNetModel
    | MobileNetModel
    | RecurrentModel
    | DeltaModel
    | FastWeightsModel
    | RoundsModel
    | Seq2SeqModel
    | Seq2SeqHeadsModel
    | Seq2SeqFastWeightsModel
    | OwnModel
    | LanguageModel
    | LanguageHeadsModel
    | LanguageFastWeightsModel
)
"""The network of a recipe."""


@dataclass(frozen=True, slots=True)
class _Described:
    model: ModelRecipe


def given(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None (UserError for one that a recipe with this network cannot have)."""
    model = from_document(_Described, {"model": {"name": name, **values}}, "").model
    found = {entry.name: getattr(model, entry.name) for entry in fields(model)[1:]}
    return {field: value for field, value in found.items() if value is not None}


def names(family: type[Any]) -> tuple[str, ...]:
    """The names of a family of networks, or of a kind of data."""
    return get_args(get_type_hints(family)["name"])


NORMALISED = (*names(ResNetModel), *names(MobileNetModel))
"""Networks whose batch normalisation stays after training; their tensors have torchvision's names."""
