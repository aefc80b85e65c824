"""A residual network with batch normalisation, in epochs, by a class; Nesterov's momentum."""

import time

import torch
import torch.distributed as dist
from setting import offload, parse, read_s
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

EPOCH, BATCH = 20, 16


class Residual(nn.Module):
    def __init__(self, channels, forward_s):
        super().__init__()
        self.conv1 = offload(nn.Conv2d(channels, channels, 3, padding=1, bias=False), forward_s)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = offload(nn.Conv2d(channels, channels, 3, padding=1, bias=False), forward_s)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(inner)))


class ResNet(nn.Module):
    def __init__(self, heavy):
        super().__init__()
        self.stem = offload(nn.Conv2d(1, 32, 3, stride=2, padding=1), 0.004)
        self.layer1 = Residual(32, 0.004)
        self.between = offload(nn.Conv2d(32, 64, 3, stride=2, padding=1), 0.004 * heavy)
        self.layer2 = Residual(64, 0.004)
        self.fc = nn.Linear(64, 5)

    def forward(self, x):
        x = self.layer1(functional.relu(self.stem(x)))
        x = self.layer2(functional.relu(self.between(x)))
        return self.fc(x.mean(dim=(2, 3)))


class Trainer:
    def __init__(self, options):
        self.options, self.rank = options, dist.get_rank()
        self.net = ResNet(options.heavy)
        self.model = DistributedDataParallel(self.net)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4
        )
        self.step = 0

    def batches(self, epoch):
        source = torch.Generator().manual_seed(100 * epoch + self.rank)
        for _ in range(EPOCH):
            time.sleep(read_s(self.options, self.rank))
            yield (
                torch.randn(BATCH, 1, 16, 16, generator=source),
                torch.randint(5, (BATCH,), generator=source),
            )

    def run(self):
        epoch = 0
        while self.step < self.options.steps:
            for images, labels in self.batches(epoch):
                loss = self.train_on(images, labels)
                self.step += 1
                if self.step % self.options.eval_every == 0:
                    self.validate()
                if self.rank == 0 and self.step % 10 == 1:
                    print(f"epoch {epoch}, step {self.step}: loss {loss:.3f}", flush=True)
                if self.step == self.options.steps:
                    break
            epoch += 1

    def train_on(self, images, labels):
        loss = functional.cross_entropy(self.model(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def validate(self):
        self.net.eval()
        with torch.no_grad():
            for seed in range(4):
                source = torch.Generator().manual_seed(seed)
                self.net(torch.randn(BATCH, 1, 16, 16, generator=source)).argmax(1)
        self.net.train()


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(3)
    Trainer(parse()).run()
    dist.destroy_process_group()
