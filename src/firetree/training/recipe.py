"""A recipe: everything that decides what a training run computes, as one frozen dataclass.

It is read from TOML by `recipe_file` and overridden field by field on the command line (see `commands`).
Where it runs (how many workers, which folder) is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from firetree.errors import UserError, nearest
from firetree.launch.device import Wanted
from firetree.models.pruning import Scope
from firetree.planning.compressions import parse_compression
from firetree.sync import check_algorithm
from firetree.tasks import catch, kind_of


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """The network; a field left at None keeps what the named network has."""

    name: str = "squeezenet_small"
    """A network for images or texts, or a recurrent layer for sequences made by seed."""
    base_e: int | None = None
    """Expand filters of the first fire module."""
    incr_e: int | None = None
    """Expand filters added every `freq` fire modules."""
    freq: int | None = None
    """Fire modules between two additions."""
    pct_3x3: float | None = None
    """Share of the expand filters that are 3x3."""
    squeeze_ratio: float | None = None
    """Squeeze filters for each expand filter (SR)."""
    bypass: Literal["none", "simple", "complex"] | None = None
    """Bypass connections around fire modules."""
    batch_norm: bool | None = None
    """Batch normalisation of a SqueezeNet, over the samples that a worker computes at once."""
    dropout: float | None = None
    """Dropout probability before the classifier; for texts, of embeddings too."""
    hidden: int | None = None
    """Units of a recurrent layer, or width of a network for texts."""
    parameters: int | None = None
    """About how many a network for texts has, where hidden does not say; None for 1,000,000."""
    inner_steps: int | None = None
    """Inner steps of fast weights (S)."""
    decay: float | None = None
    """What fast weights keep from step to step (λ)."""
    rate: float | None = None
    """How much of a state is written into fast weights (η)."""
    normalise: bool | None = None
    """Layer normalisation in the inner steps of fast weights."""
    normalise_first: bool | None = None
    """The same where the inner steps start."""
    learned: bool | None = None
    """Whether decay and rate are learned."""
    heads: int | None = None
    """Heads of the delta rule, or of a transformer."""


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """The data, and what is done to images while training."""

    name: str = "digits"
    """A reader of images or texts, or sequences or games that are made by seed."""
    path: str | None = None
    """The file or folder it reads."""
    image_column: str | None = None
    """Column of a parquet file with the images; None for the only one that there can be."""
    label_column: str | None = None
    """Column of a parquet file with the labels; None for the only one that there can be."""
    size: int | None = None
    """Height and width in pixels; None keeps the images' own, and is 16 for Catch."""
    channels: int | None = None
    """1 for grey, 3 for colour; None keeps the images' own."""
    classes: int | None = None
    """Number of classes; None counts those in the data."""
    test_fraction: float = 0.2
    """Share held out where the data come without a test set; of words in a dictionary."""
    flip: bool = False
    """Mirror half of the training images."""
    crop_padding: int = 0
    """Shift training images by up to this many pixels."""
    crop_scale: float | None = None
    """See training images through a random part, at least this share of their area; None for the
    square at the centre, through which test images are seen."""
    crop_ratio: float = 1.3333
    """Most that the width of such a part is of its height, or its height of its width."""
    brightness: float = 0.0
    """Multiply the brightness of training images by 1 less to 1 plus this."""
    contrast: float = 0.0
    """The same for contrast."""
    saturation: float = 0.0
    """The same for the strength of colours."""
    pairs: int | None = None
    """Pairs of key and value in a sequence to be recalled; None for 4."""
    examples: int | None = None
    """Sequences made to train on, None for 100,000; pairs of texts read, None for all; games in an
    epoch, None for 10,000."""
    held_out: Literal["test", "validation"] = "test"
    """Which of the sequences that are not trained on are evaluated."""
    source: str | None = None
    """The language to translate, as in the name train.en."""
    target: str | None = None
    """The language to translate into."""
    pieces: int | None = None
    """Pieces of words in which each language is written; None for 4,000."""
    blank_after: int | None = None
    """Frames after which the screen of Catch is blank; None for 3."""


@dataclass(frozen=True, slots=True)
class OptimRecipe:
    """How weights follow gradients, and the learning rate over time."""

    batch_size: int = 64
    """Samples a step over all workers together."""
    epochs: int = 10
    """Passes over the training set."""
    steps: int | None = None
    """Steps to do instead of whole epochs."""
    lr: float = 0.1
    """Highest learning rate, for a batch of base_batch where a batch_rule scales it."""
    batch_rule: Literal["none", "linear", "sqrt", "lars", "lamb"] = "none"
    """How the rate grows with the batch: linear or sqrt; lars is linear with LARS for SGD, lamb is
    sqrt with LAMB."""
    base_batch: int = 64
    """The batch size that lr is meant for."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """What steps along the gradients, where batch_rule does not say; adam is AdamW."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: float = 0.0002
    """L2 penalty."""
    clip_norm: float | None = 1.0
    """Longest gradient, all parameters taken as one vector; None for no limit."""
    rule: Literal["polynomial", "cosine", "step", "constant"] = "polynomial"
    """How the learning rate falls after the warm-up."""
    power: float = 1.0
    """Exponent of the polynomial rule (1 is a straight line to 0)."""
    step_epochs: int = 10
    """Epochs between two drops of the step rule."""
    step_factor: float = 0.1
    """Factor of a drop of the step rule."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from 0."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    accumulate: int = 1
    """Parts in which each worker computes its share of a batch, to save memory."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is evaluated and kept; None for no average."""
    target_accuracy: float | None = None
    """End early at this top-1 accuracy (0 to 1) on the test set."""


@dataclass(frozen=True, slots=True)
class SyncRecipe:
    """How gradients are summed over the workers."""

    algorithm: str = "binomial_tree"
    """A collective of firetree.collectives, or gloo for the backend's own all-reduce."""
    compression: str = "none"
    """How gradients are made smaller: none, fp16, bf16, int8, topk:SHARE or powersgd:RANK."""
    local_steps: int = 1
    """Steps that each worker takes alone before the workers are averaged."""
    outer_lr: float = 1.0
    """Part of the averaged change that is taken after local steps; DiLoCo takes 0.7."""
    outer_momentum: float = 0.0
    """Nesterov momentum of the averaged changes; DiLoCo takes 0.9."""
    bucket_bytes: int = 25_000_000
    """Gradients summed in one go, at most about this many bytes."""
    timeout_s: float = 60.0
    """Seconds to wait for another worker before the run fails."""


@dataclass(frozen=True, slots=True)
class SparseRecipe:
    """Whether, and when, the smallest weights are held at zero."""

    density: float | None = None
    """Share of the weights that stay; None to train all."""
    scope: Scope = "layer"
    """Whether that is the share of each layer, or of all layers together."""
    first_epoch: float = 0.0
    """Epochs before the smallest weights are set to zero."""
    ramp_epochs: float = 0.0
    """Epochs in which the density falls, fast at first, to its value; 0 for all at once."""
    last_epoch: float | None = None
    """Epoch from which all are trained again (dense-sparse-dense training); None to stay sparse."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    sync: SyncRecipe = field(default_factory=SyncRecipe)
    sparse: SparseRecipe = field(default_factory=SparseRecipe)
    seed: int = 0
    """Decides initial weights, order, augmentation and dropout."""
    device: Wanted = "auto"
    """What computes: auto is a GPU for each worker where all hosts have them, else the CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Arithmetic of forward and backward pass; weights stay float32. auto measures which is fastest."""
    compile: bool = False
    """Let torch.compile make the network faster, which takes a minute at the start."""
    evaluate_epochs: int = 1
    """Epochs between two evaluations on the test set."""
    checkpoint_steps: int = 200
    """Steps between two checkpoints; the last step always has one."""
    keep_checkpoints: int = 3
    """Checkpoints kept on disk."""
    on_nan: Literal["stop", "skip"] = "stop"
    """When a loss or gradient is no finite number: end the run, or leave the step out."""


def check_recipe(recipe: Recipe) -> None:
    """Raise UserError for the first field whose value no run can have."""
    for path, (accepts, expected) in _RANGES.items():
        value: Any = recipe
        for part in path.split("."):
            value = getattr(value, part)
        if value is not None and not accepts(value):
            raise UserError(f"{path} = {value}; expected {expected}")
    kind = kind_of(recipe.data.name)
    if recipe.model.name not in kind.networks:
        close = nearest(recipe.model.name, kind.networks)
        raise UserError(f"model.name = '{recipe.model.name}' is unknown for {kind.what}{close}")
    if recipe.data.name == catch.NAME and recipe.optim.label_smoothing:
        raise UserError(
            f"optim.label_smoothing = {recipe.optim.label_smoothing}; games have no labels, leave it out"
        )
    if recipe.sparse.density is not None and recipe.sync.local_steps > 1:
        raise UserError("sparse.density and sync.local_steps; expected one of them")
    if recipe.sync.compression.startswith("powersgd") and recipe.sync.local_steps > 1:
        raise UserError("sync.compression = powersgd and sync.local_steps; expected one of them")
    check_algorithm(recipe.sync.algorithm)
    parse_compression(recipe.sync.compression)


Check = tuple[Callable[[Any], bool], str]
_POSITIVE: Check = (lambda value: 0 < value < float("inf"), "a number above 0")
_AT_LEAST_ONE: Check = (lambda value: value >= 1, "1 or more")
_NOT_NEGATIVE: Check = (lambda value: 0 <= value < float("inf"), "0 or more")
_SHARE: Check = (lambda value: 0 <= value < 1, "0 or more and below 1")
_FRACTION: Check = (lambda value: 0 < value <= 1, "above 0 and at most 1")

_RANGES: dict[str, Check] = {
    "seed": (lambda value: 0 <= value < 2**32, "0 to 4294967295"),
    "evaluate_epochs": _AT_LEAST_ONE,
    "checkpoint_steps": _AT_LEAST_ONE,
    "keep_checkpoints": _AT_LEAST_ONE,
    "model.dropout": _SHARE,
    "model.hidden": _AT_LEAST_ONE,
    "model.parameters": _AT_LEAST_ONE,
    "model.heads": _AT_LEAST_ONE,
    "data.pairs": _AT_LEAST_ONE,
    "data.examples": _AT_LEAST_ONE,
    "data.blank_after": _AT_LEAST_ONE,
    "data.pieces": _AT_LEAST_ONE,
    "data.size": _AT_LEAST_ONE,
    "data.classes": (lambda value: value >= 2, "2 or more"),
    "data.channels": (lambda value: value in (1, 3), "1 or 3"),
    "data.test_fraction": (lambda value: 0 < value < 1, "above 0 and below 1"),
    "data.crop_padding": _NOT_NEGATIVE,
    "data.crop_scale": _FRACTION,
    "data.crop_ratio": (lambda value: 1 <= value < float("inf"), "1 or more"),
    "data.brightness": _SHARE,
    "data.contrast": _SHARE,
    "data.saturation": _SHARE,
    "optim.batch_size": _AT_LEAST_ONE,
    "optim.epochs": _AT_LEAST_ONE,
    "optim.steps": _AT_LEAST_ONE,
    "optim.lr": _POSITIVE,
    "optim.base_batch": _AT_LEAST_ONE,
    "optim.momentum": _SHARE,
    "optim.weight_decay": _NOT_NEGATIVE,
    "optim.clip_norm": _POSITIVE,
    "optim.power": _POSITIVE,
    "optim.step_epochs": _AT_LEAST_ONE,
    "optim.step_factor": _FRACTION,
    "optim.warmup_epochs": _NOT_NEGATIVE,
    "optim.label_smoothing": _SHARE,
    "optim.accumulate": _AT_LEAST_ONE,
    "optim.ema": _SHARE,
    "optim.target_accuracy": _FRACTION,
    "sync.bucket_bytes": _AT_LEAST_ONE,
    "sync.local_steps": _AT_LEAST_ONE,
    "sync.outer_lr": _POSITIVE,
    "sync.outer_momentum": _SHARE,
    "sync.timeout_s": (lambda value: 0 < value < 1e6, "above 0 and below 1000000"),
    "sparse.density": _FRACTION,
    "sparse.first_epoch": _NOT_NEGATIVE,
    "sparse.ramp_epochs": _NOT_NEGATIVE,
    "sparse.last_epoch": _NOT_NEGATIVE,
}
