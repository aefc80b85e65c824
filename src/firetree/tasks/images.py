"""To tell images apart: cross-entropy over their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from firetree import models
from firetree.data import Account, Augmentation, ImageReader, Loader, Splits, load
from firetree.data.augmentation import STRONGEST
from firetree.documents import Count, Expect, Positive
from firetree.errors import UserError
from firetree.fields import BelowOne, Fixed, Part, Share
from firetree.models import glimpses
from firetree.models.families import STARTING
from firetree.tasks.losses import logits_of
from firetree.tasks.outcomes import Outcomes
from firetree.tasks.pretrained import Pretrained

_Alpha = Annotated[
    float, Expect(lambda value: value == 0 or 0.01 <= value <= 100, "0, or 0.01 to 100")
]

_Magnitude = Annotated[int, Expect(lambda value: 0 <= value <= STRONGEST, f"0 to {STRONGEST}")]


@dataclass(frozen=True, slots=True)
class ImageData:
    """Images with classes, and what is done to them while training."""

    name: Fixed[ImageReader] = "digits"
    path: str | None = None
    """The file or folder it reads."""
    image_column: Fixed[str | None] = None
    """Column with the images of parquet or Arrow, or with a CSV's paths; None for the only one that there
    can be."""
    label_column: Fixed[str | None] = None
    """Column with their labels; None for the only one that there can be."""
    size: Fixed[Positive | None] = None
    """Height and width in pixels; None keeps the images' own."""
    channels: Fixed[Annotated[int, Expect(lambda value: value in (1, 3), "1 or 3")] | None] = None
    """1 for grey, 3 for colour; None keeps the images' own."""
    classes: Fixed[Annotated[int, Expect(lambda value: value >= 2, "2 or more")] | None] = None
    """Number of classes; None counts those in the data."""
    test_fraction: Fixed[Part] = 0.2
    """Share of each class held out where the data come without a test set."""
    flip: bool = False
    """Mirror half of the training images."""
    crop_padding: Count = 0
    """Shift training images by up to this many pixels."""
    crop_scale: Share | None = None
    """See training images through a random part, at least this share of their area; None for the
    square at the centre, through which test images are seen."""
    crop_ratio: Annotated[float, Expect(lambda value: 1 <= value < float("inf"), "1 or more")] = (
        1.3333
    )
    """Most that the width of such a part is of its height, or its height of its width."""
    rand_augment: Count = 0
    """Random operations on each training image, as turning or posterising it (RandAugment)."""
    rand_augment_magnitude: _Magnitude = 9
    """How strong these are, 0 to 30."""
    brightness: BelowOne = 0.0
    """Multiply the brightness of training images by 1 less to 1 plus this."""
    contrast: BelowOne = 0.0
    """The same for contrast."""
    saturation: BelowOne = 0.0
    """The same for the strength of colours."""
    erase: Annotated[float, Expect(lambda value: 0 <= value <= 1, "0 to 1")] = 0.0
    """Probability that a part of a training image, up to a third, gets the mean colour."""
    mixup: _Alpha = 0.0
    """Blend each training image, and its label, with another of its batch, by a share drawn from
    Beta(α, α) with this α."""
    cutmix: _Alpha = 0.0
    """Replace a square of each training image by another's, likewise; with mixup, each for one half."""
    test_size: Positive | None = None
    """Height and width of test images in pixels; None for those of training images."""


@dataclass(frozen=True, slots=True)
class ImageClassification:
    """Classification of images (B, C, H, W), those to train on changed a little each time."""

    splits: Splits
    augmentation: Augmentation
    pretrained: Pretrained | None = None
    weights_K: Tensor | None = None
    """What an image of each class counts in the loss; 1 over all images in the mean. None for 1 each."""

    @property
    def examples(self) -> int:
        return len(self.splits.train)

    @property
    def about(self) -> dict[str, Any]:
        splits = self.splits
        return {
            "classes": list(splits.classes),
            "size": splits.test.size,
            "channels": splits.channels,
            "mean": list(splits.mean),
            "std": list(splits.std),
            **({"starts_from": self.pretrained.checksum} if self.pretrained else {}),
        }

    @property
    def account(self) -> Account:
        return self.splits.account

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        network = glimpses.build if fields["name"] in glimpses.names() else models.build
        self._check_test_size(fields["name"])
        own = {name: it for name, it in fields.items() if it is not None and name not in STARTING}
        built = network(
            **own,
            classes=len(self.splits.classes),
            channels=self.splits.channels,
            size=self.splits.size,
        )
        if self.pretrained:
            self.pretrained.load_into(built, self.splits.classes)
        return built

    def _check_test_size(self, network: str) -> None:
        size, tested = self.splits.size, self.splits.test.size
        if tested != size and not models.is_of_one_form(network, size, tested):
            raise UserError(
                f"data.test_size = {tested}; expected a size for which {network} has the layers that it has for "
                f"the {size} pixels of training images"
            )

    def balanced(self) -> ImageClassification:
        """The same, where each class counts as much as any other, however many images it has."""
        counts_K = np.bincount(self.splits.train.labels, minlength=len(self.splits.classes))
        each = len(self.splits.train) / np.count_nonzero(counts_K)
        weights_K = torch.tensor(each / np.maximum(counts_K, 1), dtype=torch.float32)
        return replace(self, weights_K=weights_K)

    def starting_from(self, pretrained: Pretrained) -> ImageClassification:
        """The same, with networks that start from a model's weights (UserError if they cannot)."""
        return replace(self, splits=pretrained.adapt(self.splits), pretrained=pretrained)

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> Loader:
        return Loader(
            self.splits,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            augmentation=self.augmentation,
            threads=torch.get_num_threads(),
            channels_last=channels_last,
        )

    def example(self, count: int) -> Tensor:
        return torch.zeros(count, self.splits.channels, self.splits.size, self.splits.size)

    def loss(self, outputs: Any, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        weights_K = None if self.weights_K is None else self.weights_K.to(y.device)
        if not isinstance(outputs, models.Outputs):
            outputs = self._checked(logits_of(outputs))
        return models.summed_loss(outputs, y, label_smoothing, weights_K)

    def _checked(self, logits: Tensor) -> Tensor:
        """The logits of a network that may be the user's own (UserError where they lack a class)."""
        if logits.dim() != 2 or logits.shape[1] < len(self.splits.classes):
            raise UserError(
                f"the network gives {tuple(logits.shape)}; expected ({len(logits)}, {len(self.splits.classes)}), a "
                "score for each class"
            )
        return logits

    def right(self, outputs: Any, y: Tensor) -> Tensor:
        return (logits_of(outputs).argmax(1) == y).sum()

    def figures(self, loss: float) -> dict[str, float]:
        return {}

    def outcomes(self) -> Outcomes:
        """Gathers what becomes of each test image."""
        return Outcomes(self.splits)


def load_images(data: ImageData, seed: int) -> ImageClassification:
    """The images of a recipe (UserError as `data.load`)."""
    splits = load(
        data.name,
        Path(data.path).expanduser() if data.path is not None else None,
        classes=data.classes,
        size=data.size,
        channels=data.channels,
        test_fraction=data.test_fraction,
        seed=seed,
        image_column=data.image_column,
        label_column=data.label_column,
    )
    if data.classes is None and len(splits.classes) == 1:
        raise UserError(
            f"all images are of one class, {splits.classes[0]}; expected two or more to tell apart"
        )
    if data.test_size is not None:
        splits = replace(splits, test=splits.test.resized(data.test_size))
    changes = {field.name: getattr(data, field.name) for field in fields(Augmentation)}
    return ImageClassification(splits, Augmentation(**changes))
