"""A recipe: everything that decides what a training run computes, as one frozen dataclass.

It is read from TOML by `recipe_file` and overridden field by field on the command line (see `commands`).
A field is declared once, with its default, range, help, and whether a resumed run may change it; those of
`data` stand beside their tasks, those of `model` in `models.families`. Where it runs (how many workers, which folder) is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from firetree import own_code
from firetree.documents import Count, Expect, Positive, from_document
from firetree.errors import UserError, nearest
from firetree.fields import FIXED, AboveZero, BelowOne, Fixed, NotNegative, Share
from firetree.launch.device import Wanted
from firetree.models.families import ModelRecipe, Pretrainable, SqueezeNetModel
from firetree.models.pruning import Scope
from firetree.own_code import is_timm
from firetree.planning.compressions import parse_compression
from firetree.sync import check_algorithm
from firetree.tasks import (
    CatchData,
    DataRecipe,
    ImageData,
    LanguageData,
    LossRecipe,
    MetricRecipe,
    check_loss,
    check_metric,
    kind_of,
    takes_blends,
)


@dataclass(frozen=True, slots=True)
class OptimRecipe:
    """How weights follow gradients, and the learning rate over time."""

    batch_size: Fixed[Positive] = 64
    """Samples a step over all workers together."""
    epochs: Positive = 10
    """Passes over the training set."""
    steps: Positive | None = None
    """Steps to do instead of whole epochs."""
    lr: AboveZero = 0.1
    """Highest learning rate, for a batch of base_batch where a batch_rule scales it."""
    backbone_lr: AboveZero | None = None
    """Highest learning rate of the pretrained layers, all but the last; None for lr."""
    batch_rule: Fixed[Literal["none", "linear", "sqrt", "lars", "lamb"]] = "none"
    """How the rate grows with the batch: linear or sqrt; lars is linear with LARS for SGD, lamb is
    sqrt with LAMB."""
    base_batch: Positive = 64
    """The batch size that lr is meant for."""
    optimizer: Fixed[Literal["sgd", "adam", "signsgd"]] = "sgd"
    """What steps along the gradients, where batch_rule does not say; adam is AdamW, and signsgd takes
    steps of lr along their signs."""
    momentum: BelowOne = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: NotNegative = 0.0002
    """L2 penalty."""
    clip_norm: AboveZero | None = 1.0
    """Longest gradient, all parameters taken as one vector; None for no limit."""
    rule: Literal["polynomial", "cosine", "step", "constant"] = "polynomial"
    """How the learning rate falls after the warm-up."""
    power: AboveZero = 1.0
    """Exponent of the polynomial rule (1 is a straight line to 0)."""
    step_epochs: Positive = 10
    """Epochs between two drops of the step rule."""
    step_factor: Share = 0.1
    """Factor of a drop of the step rule."""
    warmup_epochs: NotNegative = 0.0
    """Epochs over which the learning rate rises from 0."""
    label_smoothing: BelowOne = 0.0
    """Share of each label that is spread over all classes."""
    accumulate: Positive = 1
    """Parts in which each worker computes its share of a batch, to save memory."""
    ema: BelowOne | None = None
    """Decay of a moving average of the weights, which is evaluated and kept; None for no average."""
    class_weights: Fixed[Literal["none", "balanced"]] = "none"
    """Weight of each class in the loss: none for 1 each, balanced for 1 over its number of images."""
    target_accuracy: Share | None = None
    """End early at this top-1 accuracy (0 to 1) on the test set."""
    patience: Positive | None = None
    """End after so many evaluations without a better accuracy; None to go on."""

    @property
    def has_momentum(self) -> bool:
        """Whether the optimiser has the recipe's momentum: SGD and LARS do."""
        is_sgd = self.optimizer == "sgd" and self.batch_rule != "lamb"
        return self.momentum > 0 and (is_sgd or self.batch_rule == "lars")


@dataclass(frozen=True, slots=True)
class SyncRecipe:
    """How gradients are summed over the workers."""

    algorithm: str = "binomial_tree"
    """A collective of firetree.collectives, or gloo for the backend's own all-reduce."""
    compression: str = "none"
    """How gradients are made smaller: none, fp16, bf16, int8, topk:SHARE, powersgd:RANK,
    e3m0, sparseloco:SHARE:DECAY, turns:TURNS or demo:COMPONENTS:DECAY."""
    local_steps: Positive = 1
    """Steps that each worker takes alone before the workers are averaged."""
    outer_lr: AboveZero = 1.0
    """Part of the averaged change that is taken after local steps; DiLoCo takes 0.7."""
    outer_momentum: BelowOne = 0.0
    """Nesterov momentum of the averaged changes; DiLoCo takes 0.9."""
    step_ahead: bool = False
    """Average changes of weights, also after single steps, and let each worker begin from their average
    and what compression has kept of its own."""
    fragments: Positive = 1
    """Parts of the weights that are averaged at different moments of the local steps."""
    overlap_steps: Count = 0
    """Local steps that go on while a fragment is averaged; each worker then takes half of the average."""
    max_loss: (
        Annotated[float, Expect(lambda value: 0 <= value < 100, "0 or more, below 100")] | None
    ) = None
    """Points of accuracy that sending fewer bytes may cost where a run plans itself, as 0.5: it takes
    the fastest compression that was measured to cost no more. By default it sends all."""
    shares: Literal["equal", "speed"] = "equal"
    """How workers share a batch: equal parts, or each by its measured speed, for unequal machines."""
    bucket_bytes: Positive = 25_000_000
    """Gradients summed in one go, at most about this many bytes."""
    timeout_s: Annotated[
        float, Expect(lambda value: 0 < value < 1e6, "above 0 and below 1000000")
    ] = 60.0
    """Seconds to wait for another worker before the run fails."""

    @property
    def has_local_steps(self) -> bool:
        """Whether each worker follows its own gradients before changes of weights are averaged."""
        return self.local_steps > 1 or self.step_ahead

    @property
    def streams(self) -> bool:
        """Whether workers have the same weights only where someone looks at them."""
        return self.fragments > 1 or self.overlap_steps > 0


@dataclass(frozen=True, slots=True)
class SparseRecipe:
    """Whether, and when, the smallest weights are held at zero."""

    density: Share | None = None
    """Share of the weights that stay; None to train all."""
    scope: Scope = "layer"
    """Whether that is the share of each layer, or of all layers together."""
    first_epoch: NotNegative = 0.0
    """Epochs before the smallest weights are set to zero."""
    ramp_epochs: NotNegative = 0.0
    """Epochs in which the density falls, fast at first, to its value; 0 for all at once."""
    last_epoch: NotNegative | None = None
    """Epoch from which all are trained again (dense-sparse-dense training); None to stay sparse."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    model: Fixed[ModelRecipe] = field(default_factory=SqueezeNetModel)
    data: DataRecipe = field(default_factory=ImageData)
    loss: Fixed[LossRecipe] = field(default_factory=LossRecipe)
    metric: MetricRecipe = field(default_factory=MetricRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    sync: SyncRecipe = field(default_factory=SyncRecipe)
    sparse: SparseRecipe = field(default_factory=SparseRecipe)
    seed: Fixed[Annotated[int, Expect(lambda value: 0 <= value < 2**32, "0 to 4294967295")]] = 0
    """Decides initial weights, order, augmentation and dropout."""
    device: Wanted = "auto"
    """What computes: auto is a GPU for each worker where all hosts have them, else the CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Arithmetic of forward and backward pass; weights stay float32. auto measures which is fastest."""
    compile: bool = False
    """Let torch.compile make the network faster, which takes a minute at the start."""
    evaluate_epochs: Positive = 1
    """Epochs between two evaluations on the test set."""
    checkpoint_steps: Positive = 200
    """Steps between two checkpoints; the last step always has one."""
    keep_checkpoints: Positive = 3
    """Checkpoints kept on disk."""
    keep_best: bool = True
    """Write a checkpoint after an evaluation that is better than all before, and keep the best one too."""
    on_nan: Literal["stop", "skip"] = "stop"
    """When a loss or gradient is no finite number: end the run, or leave the step out; ten in a row end it."""


def check_recipe(recipe: Recipe) -> None:
    """Raise UserError for the first field whose value no run can have."""
    check_kind(recipe.data.name, recipe.model.name)
    from_document(Recipe, asdict(recipe), "")
    if isinstance(recipe.data, CatchData) and recipe.optim.label_smoothing:
        raise UserError(
            f"optim.label_smoothing = {recipe.optim.label_smoothing}; games have no labels, leave it out"
        )
    start = recipe.model if isinstance(recipe.model, Pretrainable) else None
    if start is None or start.weights is None:
        if start and start.freeze is not None:
            raise UserError(f"model.freeze = {start.freeze} without model.weights; expected both")
        if (rate := recipe.optim.backbone_lr) is not None:
            raise UserError(f"optim.backbone_lr = {rate} without model.weights; expected both")
    if (
        isinstance(recipe.data, LanguageData)
        and (target := recipe.optim.target_accuracy) is not None
    ):
        raise UserError(
            f"optim.target_accuracy = {target}; a language model has no accuracy, expected optim.patience"
        )
    check_loss(recipe.loss)
    check_metric(recipe.metric)
    if recipe.loss.name is not None:
        _check_other_loss(recipe, recipe.loss.name)
    if recipe.optim.class_weights != "none" and not isinstance(recipe.data, ImageData):
        raise UserError(
            "optim.class_weights = balanced; expected data with classes, or leave it out"
        )
    steps = recipe.sync.local_steps
    local = f"sync.local_steps = {steps}" if steps > 1 else "sync.step_ahead"
    if recipe.sparse.density is not None and recipe.sync.has_local_steps:
        raise UserError(f"sparse.density and {local}; expected one of them")
    if recipe.sync.shares == "speed":
        if recipe.sync.has_local_steps:  # their average counts workers, not samples
            raise UserError(f"sync.shares = speed and {local}; expected one of them")
        if recipe.compile:  # for one shape
            raise UserError("sync.shares = speed and compile; expected one of them")
    _check_fragments(recipe.sync, recipe.optim.ema)
    if recipe.sync.max_loss is not None:
        if recipe.sync.has_local_steps:
            raise UserError(f"sync.max_loss and {local}; expected one of them")
        if recipe.sync.compression != "none":
            raise UserError(
                f"sync.max_loss and sync.compression = {recipe.sync.compression}; expected one of them"
            )
    check_algorithm(recipe.sync.algorithm)
    compression = parse_compression(recipe.sync.compression)
    if compression.by_layer and recipe.sync.has_local_steps:
        raise UserError(f"sync.compression = {compression.name} and {local}; expected one of them")
    if compression.name == "demo" and recipe.optim.has_momentum:
        raise UserError(
            f"sync.compression = demo and optim.momentum = {recipe.optim.momentum}; expected "
            "optim.momentum = 0, as each worker keeps DeMo's momentum"
        )


def _check_fragments(sync: SyncRecipe, ema: float | None) -> None:
    """Refuse fragments that would meet at the same moment, or before the first step."""
    if not sync.streams:
        return
    if sync.fragments > sync.local_steps:
        raise UserError(
            f"sync.fragments = {sync.fragments} and sync.local_steps = {sync.local_steps}; expected a "
            "local step for each fragment"
        )
    most = sync.local_steps // sync.fragments - 1
    if sync.overlap_steps > most:
        raise UserError(
            f"sync.overlap_steps = {sync.overlap_steps}; expected at most {most}, as the next of "
            f"{sync.fragments} fragments in {sync.local_steps} local steps follows then"
        )
    parts = sync.fragments
    streamed = f"sync.fragments = {parts}" if parts > 1 else "sync.overlap_steps"
    if sync.step_ahead:
        raise UserError(f"sync.step_ahead and {streamed}; expected one of them")
    if ema is not None:
        raise UserError(
            f"optim.ema = {ema} and {streamed}; expected one of them, as workers seldom have the same "
            "weights"
        )


def _check_other_loss(recipe: Recipe, name: str) -> None:
    """Refuse what only a task's own loss has."""
    if isinstance(recipe.data, CatchData):
        raise UserError(f"loss.name = {name}; games have a loss of their own, leave it out")
    for field_name, usual in (("label_smoothing", 0.0), ("class_weights", "none")):
        if (value := getattr(recipe.optim, field_name)) != usual:
            raise UserError(
                f"optim.{field_name} = {value} and loss.name = {name}; expected one of them"
            )
    for field_name in () if takes_blends(name) else ("mixup", "cutmix"):
        if value := getattr(recipe.data, field_name, 0.0):
            raise UserError(
                f"data.{field_name} = {value} and loss.name = {name}; expected one of them, or "
                "loss.name = cross_entropy"
            )


def own_names(recipe: Recipe) -> dict[str, str]:
    """The names of the user's own code in a recipe, by their fields."""
    names = {
        f"{part}.name": getattr(recipe, part).name for part in ("model", "data", "loss", "metric")
    }
    return {
        field: name
        for field, name in names.items()
        if name and own_code.is_own(name) and not is_timm(name)
    }


def check_kind(data_name: str, model_name: str) -> None:
    """Raise UserError where there are no such data, or no such network for their kind."""
    kind = kind_of(data_name)
    if not kind.takes(model_name):
        close = nearest(model_name, kind.networks)
        raise UserError(f"model.name = '{model_name}' is unknown for {kind.what}{close}")


class FieldChange(NamedTuple):
    """A field, as in `optim.lr`, that two recipes have otherwise."""

    path: str
    before: Any
    after: Any
    fixed: bool
    """Whether a resumed run must have it as before."""


def field_changes(
    before: Any, after: Any, above: str = "", fixed: bool = False
) -> Iterator[FieldChange]:
    """What differs between two recipes, or two parts of them; a field that one lacks is None there."""
    hints = get_type_hints(type(before), include_extras=True)
    for entry in fields(before):
        old, new = getattr(before, entry.name), getattr(after, entry.name, None)
        its_fixed = fixed or FIXED in getattr(hints[entry.name], "__metadata__", ())
        if is_dataclass(old):
            yield from field_changes(old, new, f"{above}{entry.name}.", its_fixed)
        elif old != new:
            yield FieldChange(above + entry.name, old, new, its_fixed)
