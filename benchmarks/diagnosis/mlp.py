"""A perceptron on batches from a generator; SGD with momentum."""

import time

import torch
import torch.distributed as dist
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP


def batches(pause_s, seed):
    source = torch.Generator().manual_seed(seed)
    while True:
        time.sleep(pause_s)
        x = torch.randn(32, 128, generator=source)
        yield x, x[:, :10].argmax(1)


def accuracy(model, source, count=4):
    model.eval()
    with torch.no_grad():
        right = [
            (model(x).argmax(1) == y).float().mean()
            for x, y in (next(source) for _ in range(count))
        ]
    model.train()
    return torch.stack(right).mean()


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    net = nn.Sequential(
        offload(nn.Linear(128, 256), 0.004),
        nn.ReLU(),
        offload(nn.Linear(256, 256), 0.004 * options.heavy),
        nn.ReLU(),
        offload(nn.Linear(256, 256), 0.004),
        nn.ReLU(),
        offload(nn.Linear(256, 128), 0.002),
        nn.ReLU(),
        offload(nn.Linear(128, 10), 0.002),
    )
    model = DDP(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train = batches(read_s(options, rank), rank)
    test = batches(0.0, 1000)
    for step in range(options.steps):
        x, y = next(train)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % options.eval_every == options.eval_every - 1:
            right = accuracy(model.module, test)
            if rank == 0:
                print(f"step {step}: accuracy {right:.2f}", flush=True)
        if rank == 0 and step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
