"""To tell images apart: cross-entropy over their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firetree import data, models
from firetree.data import Augmentation, Splits
from firetree.errors import UserError
from firetree.models import glimpses, recurrent
from firetree.tasks.task import CHANGES, check_fields

_FIELDS = (
    *("path", "image_column", "label_column"),
    *("size", "channels", "classes", "test_fraction"),
)


@dataclass(frozen=True, slots=True)
class ImageClassification:
    """Classification of images (B, C, H, W), those to train on changed a little each time."""

    splits: Splits
    augmentation: Augmentation

    @property
    def examples(self) -> int:
        return len(self.splits.train)

    @property
    def about(self) -> dict[str, Any]:
        splits = self.splits
        return {
            "classes": list(splits.classes),
            "size": splits.size,
            "channels": splits.channels,
            "mean": list(splits.mean),
            "std": list(splits.std),
        }

    @property
    def account(self) -> data.Account:
        return self.splits.account

    def build(self, fields: Mapping[str, Any]) -> nn.Module:
        shape: dict[str, Any] = {
            "classes": len(self.splits.classes),
            "channels": self.splits.channels,
            "size": self.splits.size,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        if given["name"] in glimpses.names():
            return glimpses.build(**given, **shape)
        for field in (*recurrent.FIELDS, "parameters"):
            if field in given:
                raise UserError(
                    f"model.{field} = {given[field]}; only networks for sequences have this field, "
                    "leave it out"
                )
        return models.build(**given, **shape)

    def loader(
        self, *, batch_size: int, seed: int, rank: int, world_size: int, channels_last: bool = True
    ) -> data.Loader:
        return data.Loader(
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
        return models.summed_loss(outputs, y, label_smoothing)

    def right(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs.argmax(1) == y).sum()


def load_images(fields: Mapping[str, Any], seed: int) -> ImageClassification:
    """The images that a recipe's `data` fields describe (UserError as `data.load`)."""
    check_fields(fields, own=(*_FIELDS, *CHANGES))
    path = fields["path"]
    splits = data.load(
        fields["name"],
        Path(path).expanduser() if path is not None else None,
        classes=fields["classes"],
        size=fields["size"],
        channels=fields["channels"],
        test_fraction=fields["test_fraction"],
        seed=seed,
        image_column=fields["image_column"],
        label_column=fields["label_column"],
    )
    return ImageClassification(splits, Augmentation(**{name: fields[name] for name in CHANGES}))
