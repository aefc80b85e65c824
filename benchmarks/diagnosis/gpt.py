"""A small GPT on characters; two micro-batches a step, the first without synchronisation; AdamW."""

import time
from contextlib import nullcontext

import torch
import torch.distributed as dist
import torch.nn.functional as F
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

VOCABULARY, WIDTH, LENGTH, MICRO = 64, 64, 32, 2


class Block(nn.Module):
    def __init__(self, forward_s, heavy=1.0):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.grow = offload(nn.Linear(WIDTH, 4 * WIDTH), forward_s * heavy)
        self.shrink = offload(nn.Linear(4 * WIDTH, WIDTH), forward_s)

    def forward(self, x, mask):
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return x + self.shrink(F.gelu(self.grow(x)))


class GPT(nn.Module):
    def __init__(self, heavy):
        super().__init__()
        self.symbols = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.blocks = nn.ModuleList([Block(0.003), Block(0.003, heavy), Block(0.003)])
        self.out = offload(nn.Linear(WIDTH, VOCABULARY), 0.003)

    def forward(self, x):
        mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
        x = self.symbols(x) + self.places
        for block in self.blocks:
            x = block(x, mask)
        return self.out(x)


def sample(source, pause_s):
    time.sleep(pause_s)
    text = torch.randint(VOCABULARY, (4, LENGTH + 1), generator=source)
    return text[:, :-1], text[:, 1:]


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = DDP(GPT(options.heavy))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)
    source = torch.Generator().manual_seed(rank)
    pause_s = read_s(options, rank) / MICRO
    for step in range(options.steps):
        for micro in range(MICRO):
            x, y = sample(source, pause_s)
            with nullcontext() if micro == MICRO - 1 else model.no_sync():
                logits = model(x)
                loss = F.cross_entropy(logits.flatten(0, 1), y.flatten()) / MICRO
                loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % options.eval_every == 0:
            model.eval()
            with torch.no_grad():
                for _ in range(4):
                    model.module(sample(source, 0.0)[0])
            model.train()
        if rank == 0 and step % 10 == 0:
            print(f"step {step}: loss {MICRO * loss.item():.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
