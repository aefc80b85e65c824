"""An embedding and an LSTM that tell which words follow; a DataLoader in the process itself; SGD."""

import time

import torch
import torch.distributed as dist
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

WORDS, WIDTH, LENGTH = 500, 64, 8


class Sentences(IterableDataset):
    def __init__(self, seed, pause_s):
        self.seed, self.pause_s = seed, pause_s

    def __iter__(self):
        source = torch.Generator().manual_seed(self.seed)
        while True:
            if self.pause_s:
                time.sleep(self.pause_s)
            yield torch.randint(WORDS, (LENGTH + 1,), generator=source)


class Speaker(nn.Module):
    def __init__(self, heavy):
        super().__init__()
        self.embedding = offload(nn.Embedding(WORDS, WIDTH), 0.002)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.expand = offload(nn.Linear(WIDTH, 2 * WIDTH), 0.006 * heavy)
        self.reduce = offload(nn.Linear(2 * WIDTH, WIDTH), 0.004)
        self.words = offload(nn.Linear(WIDTH, WORDS), 0.004)

    def forward(self, x):
        hidden, _ = self.lstm(self.embedding(x))
        return self.words(torch.tanh(self.reduce(torch.tanh(self.expand(hidden)))))


def loss_of(model, sentences):
    logits = model(sentences[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), sentences[:, 1:].flatten())


def perplexity(model, loader, count):
    model.eval()
    with torch.no_grad():
        losses = [
            loss_of(model, sentences) for sentences, _ in zip(loader, range(count), strict=False)
        ]
    model.train()
    return torch.stack(losses).mean().exp()


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group(backend="gloo")
    rank = dist.get_rank()
    torch.manual_seed(1)
    model = DistributedDataParallel(Speaker(options.heavy), bucket_cap_mb=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
    loader = iter(DataLoader(Sentences(rank, read_s(options, rank) / 8), batch_size=8))
    test = DataLoader(Sentences(99, 0.0), batch_size=8)
    for step in range(1, options.steps + 1):
        loss = loss_of(model, next(loader))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if rank == 0 and step % 10 == 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
        if step % options.eval_every == 0:
            perplexity(model.module, test, 4)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
