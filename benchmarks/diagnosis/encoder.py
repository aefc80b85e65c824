"""A transformer that classifies texts; two passes add up before the optimiser steps; a loss that is read each step."""

import time

import torch
import torch.distributed as dist
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

WORDS, WIDTH, LENGTH, PASSES = 300, 64, 12, 2


class Layer(nn.Module):
    def __init__(self, heavy=1.0):
        super().__init__()
        self.mix = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.1, batch_first=True)
        self.post = offload(nn.Linear(WIDTH, WIDTH), 0.004 * heavy)

    def forward(self, x):
        return x + self.post(self.mix(x))


class Classifier(nn.Module):
    def __init__(self, heavy):
        super().__init__()
        self.words = offload(nn.Embedding(WORDS, WIDTH), 0.004)
        self.first = Layer()
        self.second = Layer(heavy)
        self.third = Layer()
        self.decide = offload(nn.Linear(WIDTH, 4), 0.004)

    def forward(self, x):
        x = self.third(self.second(self.first(self.words(x))))
        return self.decide(x.mean(1))


def texts(pause_s, seed):
    source = torch.Generator().manual_seed(seed)
    while True:
        time.sleep(pause_s)
        yield (
            torch.randint(WORDS, (4, LENGTH), generator=source),
            torch.randint(4, (4,), generator=source),
        )


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = DDP(Classifier(options.heavy), bucket_cap_mb=1, find_unused_parameters=False)
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-4)
    judge = nn.CrossEntropyLoss()
    source = texts(read_s(options, rank) / PASSES, rank)
    test = texts(0.0, 1234)
    for step in range(options.steps):
        optimizer.zero_grad()
        total = 0.0
        for number in range(PASSES):
            words, kinds = next(source)
            if number < PASSES - 1:
                with model.no_sync():
                    loss = judge(model(words), kinds) / PASSES
                    loss.backward()
            else:
                loss = judge(model(words), kinds) / PASSES
                loss.backward()
            total += loss.item()
        optimizer.step()
        if (step + 1) % options.eval_every == 0:
            model.eval()
            with torch.no_grad():
                for _ in range(4):
                    model.module(next(test)[0])
            model.train()
        if rank == 0 and step % 10 == 0:
            print(f"step {step}: loss {total:.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
