"""A small ResNet on CIFAR-10, as a plain DDP script: nothing in it knows of firetree.

torchrun --nproc-per-node 2 examples/resnet_cifar10.py --data cifar-10-batches-bin
firetree run --workers 2 examples/resnet_cifar10.py --synthetic
"""

import argparse
import os
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy, relu
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Block(nn.Module):
    """Two convolutions and a way around them (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.around = nn.Conv2d(before, after, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = relu(self.norms[0](self.first(x)))
        return relu(self.norms[1](self.second(y)) + self.around(x))


def resnet20() -> nn.Module:
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(a, b, 2 if b > a else 1) for a, b in pairwise(widths)]
    stem = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def images(folder: Path, names: list[str]) -> TensorDataset:
    """The binary version of CIFAR-10: a byte for the class, then 3 x 32 x 32 bytes."""
    if missing := [name for name in names if not (folder / name).exists()]:
        raise SystemExit(
            f"{folder} has no {missing[0]}; expected the files of CIFAR-10's binary version "
            "(cifar-10-binary.tar.gz), or --synthetic"
        )
    data = b"".join((folder / name).read_bytes() for name in names)
    rows = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, 3073)
    return TensorDataset(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long())


def noise(count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return TensorDataset(pixels, torch.randint(10, (count,), generator=generator))


def scaled(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    return pixels.to(device).float().div_(64).sub_(2)


@torch.no_grad()
def accuracy(model: nn.Module, test: TensorDataset, device: torch.device) -> float:
    model.eval()
    right = sum(
        int((model(scaled(x, device)).argmax(1).cpu() == y).sum()) for x, y in DataLoader(test, 500)
    )
    model.train()
    return right / len(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("cifar-10-batches-bin"))
    parser.add_argument("--synthetic", action="store_true", help="random images, to try it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, help="end after so many")
    parser.add_argument("--batch-size", type=int, default=128, help="of each worker")
    options = parser.parse_args()
    if options.synthetic:
        train, test = noise(5000), noise(500)
    else:
        train = images(options.data, [f"data_batch_{k}.bin" for k in range(1, 6)])
        test = images(options.data, ["test_batch.bin"])

    dist.init_process_group()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    torch.manual_seed(0)
    model = DistributedDataParallel(resnet20().to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    sampler = DistributedSampler(train, drop_last=True)
    loader = DataLoader(train, options.batch_size, sampler=sampler)
    step = 0
    for epoch in range(options.epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(scaled(x, device)), y.to(device))
            loss.backward()
            optimizer.step()
            step += 1
            if step == options.steps:
                break
        if dist.get_rank() == 0:
            right = accuracy(model.module, test, device)
            print(f"step {step}: loss {loss:.3f}, test accuracy {right:.2%}")
        if step == options.steps:
            break
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
