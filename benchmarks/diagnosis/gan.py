"""A generator and a critic, each with its own DDP and its own optimiser."""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

NOISE, SIZE, BATCH = 32, 96, 24


def generator():
    return nn.Sequential(
        offload(nn.Linear(NOISE, 160), 0.002),
        nn.ReLU(),
        offload(nn.Linear(160, 160), 0.002),
        nn.ReLU(),
        offload(nn.Linear(160, SIZE), 0.002),
    )


def critic(heavy):
    return nn.Sequential(
        offload(nn.Linear(SIZE, 200), 0.002),
        nn.LeakyReLU(0.2),
        offload(nn.Linear(200, 200), 0.002 * heavy),
        nn.LeakyReLU(0.2),
        offload(nn.Linear(200, 200), 0.002),
        nn.LeakyReLU(0.2),
        nn.Linear(200, 1),
    )


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    maker, judge = DDP(generator()), DDP(critic(options.heavy))
    of_maker = torch.optim.Adam(maker.parameters(), 2e-4, betas=(0.5, 0.9))
    of_judge = torch.optim.Adam(judge.parameters(), 2e-4, betas=(0.5, 0.9))
    source = torch.Generator().manual_seed(rank)
    pause_s = read_s(options, rank)
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    for step in range(options.steps):
        time.sleep(pause_s)
        real = torch.randn(BATCH, SIZE, generator=source).cumsum(1)

        fake = maker(torch.randn(BATCH, NOISE, generator=source))
        both = judge(torch.cat([real, fake.detach()]))
        loss_judge = F.binary_cross_entropy_with_logits(both, torch.cat([ones, zeros]))
        of_judge.zero_grad()
        loss_judge.backward()
        of_judge.step()

        for parameter in judge.parameters():
            parameter.requires_grad_(False)
        loss_maker = F.binary_cross_entropy_with_logits(judge.module(fake), ones)
        of_maker.zero_grad()
        loss_maker.backward()
        of_maker.step()
        for parameter in judge.parameters():
            parameter.requires_grad_(True)

        if step % options.eval_every == options.eval_every - 1:
            with torch.no_grad():
                for _ in range(4):
                    judge.module(maker.module(torch.randn(BATCH, NOISE)))
        if rank == 0 and step % 10 == 0:
            print(f"step {step}: {loss_judge.item():.3f} {loss_maker.item():.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
