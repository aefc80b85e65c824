"""A convolutional network on images that a worker process of the DataLoader reads; Adam."""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset

BATCH = 16


class Pictures(Dataset):
    def __init__(self, count, pause_s):
        self.count, self.pause_s = count, pause_s

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        time.sleep(self.pause_s)
        picture = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(index))
        return picture, int(picture.mean() > 0)


class ConvNet(nn.Module):
    def __init__(self, heavy):
        super().__init__()
        self.stem = offload(nn.Conv2d(3, 24, 3, stride=2, padding=1), 0.002)
        self.middle = offload(nn.Conv2d(24, 48, 3, stride=2, padding=1), 0.004)
        self.wide = offload(nn.Conv2d(48, 96, 3, padding=1), 0.004 * heavy)
        self.last = offload(nn.Conv2d(96, 96, 3, stride=2, padding=1), 0.004)
        self.head = nn.Linear(96, 2)

    def forward(self, x):
        for layer in (self.stem, self.middle, self.wide, self.last):
            x = F.relu(layer(x))
        return self.head(x.mean((2, 3)))


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    losses = [F.cross_entropy(model(x), y) for x, y in loader]
    model.train()
    return sum(losses) / len(losses)


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = DDP(ConvNet(options.heavy), bucket_cap_mb=0.2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pictures = Pictures(options.steps * BATCH, read_s(options, rank) / BATCH)
    loader = DataLoader(pictures, BATCH, num_workers=1, prefetch_factor=2)
    held_out = DataLoader(Pictures(4 * BATCH, 0.0), BATCH)
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if rank == 0 and step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
        if (step + 1) % options.eval_every == 0:
            evaluate(model.module, held_out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
