"""An MLP-Mixer in bfloat16 by autocast; two worker processes a loader; cosine learning rate."""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from setting import offload, parse, read_s
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

PATCHES, WIDTH, BATCH = 16, 48, 8


class Crops(Dataset):
    def __init__(self, count, pause_s=0.0):
        self.data = torch.randn(count, PATCHES, WIDTH, generator=torch.Generator().manual_seed(7))
        self.pause_s = pause_s

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if self.pause_s:
            time.sleep(self.pause_s)
        return self.data[index], int(self.data[index].sum() > 0)


class Mix(nn.Module):
    def __init__(self, heavy=1.0):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.tokens = offload(nn.Linear(PATCHES, PATCHES), 0.002)
        self.up = offload(nn.Linear(WIDTH, 4 * WIDTH), 0.002 * heavy)
        self.down = offload(nn.Linear(4 * WIDTH, WIDTH), 0.002)

    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return x + self.down(F.silu(self.up(self.norm(x))))


def main():
    options = parse()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    blocks = [Mix(), Mix(), Mix(options.heavy), Mix()]
    net = nn.Sequential(*blocks, nn.Flatten(), offload(nn.Linear(PATCHES * WIDTH, 2), 0.002))
    model = DistributedDataParallel(net, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    # Two processes read at once, so each may take twice as long.
    crops = Crops(options.steps * BATCH * ranks, 2 * read_s(options, rank) / BATCH)
    sampler = DistributedSampler(crops, shuffle=True)
    loader = DataLoader(crops, BATCH, sampler=sampler, num_workers=2)
    test = DataLoader(Crops(4 * BATCH), BATCH)
    for step, (x, y) in enumerate(loader, 1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % options.eval_every == 0:
            net.eval()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                right = [(net(x).argmax(1) == y).float().mean().item() for x, y in test]
            net.train()
            if rank == 0:
                print(f"accuracy {sum(right) / len(right):.2f}", flush=True)
        if rank == 0 and step % 10 == 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
