"""Training loops to compare `firetree train` with: plain PyTorch, Lightning, Accelerate.

    python benchmarks/loops.py plain fashion.npz 60
    torchrun --nproc-per-node 2 benchmarks/loops.py accelerate fashion.npz 60

Each trains the network of the Fashion recipe on the same images in memory, changed in the same way,
with the same optimiser, and prints the seconds of a step. A batch is made in one go, and the channels of
a pixel lie side by side (`plain-contiguous`: they do not): as fast as such a loop can be written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from firetree import data, models
from firetree.training import Recipe, load_recipe

WARM_UP = 10
"""Steps that are not counted."""


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Fashion-MNIST, handed out by the batch: x_BCHW normalised, half of them mirrored, and y_B."""

    def __init__(self, path: Path, channels_last: bool):
        splits = data.load(
            "npz", path, classes=10, size=None, channels=None, test_fraction=0.2, seed=0
        )
        x_NHWC, _ = splits.train.read_batch(np.arange(len(splits.train)))
        self._x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2)
        self._y_N = torch.from_numpy(splits.train.labels)
        self._mean, self._std = (255 * torch.tensor(values) for values in (splits.mean, splits.std))
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return len(self._y_N)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        x_BCHW = self._x_NCHW[indices]
        flipped_B = torch.rand(len(indices)) < 0.5
        x_BCHW[flipped_B] = x_BCHW[flipped_B].flip(-1)
        x_BCHW = (x_BCHW.float() - self._mean) / self._std
        return x_BCHW.contiguous(memory_format=self._format), self._y_N[indices]


def network(recipe: Recipe, channels_last: bool) -> nn.Module:
    torch.manual_seed(0)
    model = models.build(recipe.model.name, classes=10, channels=1, size=28)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def optimizer_of(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    optim = recipe.optim
    return torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=optim.momentum, weight_decay=optim.weight_decay
    )


def batches_of(images: Images, batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(images, batch_size, shuffle=True, collate_fn=lambda batch: batch)


def plain(recipe: Recipe, path: Path, steps: int, channels_last: bool = True) -> list[float]:
    """The loop of PyTorch's tutorials."""
    model = network(recipe, channels_last)
    optimizer = optimizer_of(recipe, model)
    starts_s = []
    loader = batches_of(Images(path, channels_last), recipe.optim.batch_size)
    for _, (x_BCHW, y_B) in zip(range(steps), loader, strict=False):
        starts_s.append(time.perf_counter())
        optimizer.zero_grad()
        loss = cross_entropy(model(x_BCHW), y_B)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return starts_s


def by_accelerate(recipe: Recipe, path: Path, steps: int) -> list[float]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = network(recipe, True)
    loader = batches_of(Images(path, True), recipe.optim.batch_size // accelerator.num_processes)
    model, optimizer, loader = accelerator.prepare(model, optimizer_of(recipe, model), loader)
    starts_s = []
    for _, (x_BCHW, y_B) in zip(range(steps), loader, strict=False):
        starts_s.append(time.perf_counter())
        optimizer.zero_grad()
        accelerator.backward(cross_entropy(model(x_BCHW), y_B))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return starts_s


def by_lightning(recipe: Recipe, path: Path, steps: int) -> list[float]:
    import lightning

    starts_s: list[float] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(recipe, True)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            starts_s.append(time.perf_counter())
            x_BCHW, y_B = batch
            return cross_entropy(self.network(x_BCHW), y_B)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(recipe, self)

    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=steps,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = batches_of(Images(path, True), recipe.optim.batch_size // trainer.world_size)
    trainer.fit(Module(), loader)
    return starts_s


LOOPS: dict[str, Callable[[Recipe, Path, int], list[float]]] = {
    "plain": plain,
    "plain-contiguous": lambda *args: plain(*args, channels_last=False),
    "accelerate": by_accelerate,
    "lightning": by_lightning,
}


def step_s(starts_s: Sequence[float]) -> float:
    """The mean time from one step to the next."""
    return (starts_s[-1] - starts_s[WARM_UP]) / (len(starts_s) - 1 - WARM_UP)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("path", type=Path)
    parser.add_argument("steps", type=int)
    given = parser.parse_args()
    starts = LOOPS[given.loop](load_recipe("fashion-squeezenet"), given.path, given.steps)
    print("\n" + json.dumps({"step_s": step_s(starts)}), flush=True)
