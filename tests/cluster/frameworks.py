"""Small trainings by Lightning, Accelerate and Hugging Face's Trainer, with and without firetree.

Each function runs on two ranks and gives weights by the name of a way.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import firetree
from firetree.torch_private import comm_hook_of

WAYS: dict[str, dict[str, Any]] = {
    "gloo": {"algorithm": "gloo"},
    "ring": {"algorithm": "ring"},
    "fp16": {"algorithm": "ring", "compression": "fp16"},
}
Found = dict[str, list[Tensor]]


def as_torchrun() -> None:
    """Say in the environment where this rank stands, as torchrun does."""
    rank, size = str(dist.get_rank()), str(dist.get_world_size())
    os.environ |= {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "one",
    }
    os.environ |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1"}
    warnings.filterwarnings("ignore")


def batches() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    parts = (torch.randn(64, size, generator=generator) for size in (8, 2))
    return DataLoader(TensorDataset(*parts), batch_size=4)


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2))


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def by_lightning(folder: Path) -> tuple[Found, dict[str, int]]:
    """Two epochs, also resumed after one; and how often a rank evaluated."""
    import lightning
    from lightning.pytorch.strategies import DDPStrategy

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.evaluated = layers(), 0

        def training_step(self, batch: list[Tensor]) -> Tensor:
            return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor]) -> None:
            self.evaluated += 1
            self.training_step(batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def fit(strategy: DDPStrategy, epochs: int = 2, start: Path | None = None) -> Any:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=2,
            strategy=strategy,
            max_epochs=epochs,
            accumulate_grad_batches=3,
            limit_val_batches=2,
            default_root_dir=folder,
            **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False),
            enable_model_summary=False,
        )
        trainer.fit(Net(), batches(), batches(), ckpt_path=start)
        return trainer

    ended = {way: fit(firetree.lightning.Strategy(**options)) for way, options in WAYS.items()}
    ended["DDP"] = fit(DDPStrategy())
    half = fit(firetree.lightning.Strategy("ring"), epochs=1)
    half.save_checkpoint(folder / "half.ckpt")
    ended["resumed"] = fit(firetree.lightning.Strategy("ring"), start=folder / "half.ckpt")
    nets = {way: trainer.lightning_module for way, trainer in ended.items()}
    return (
        {way: weights(net) for way, net in nets.items()},
        {way: net.evaluated for way, net in nets.items()},
    )


def by_accelerate() -> tuple[Found, list[str], dict[str, str]]:
    """Two epochs; the hooks of two models that one accelerator prepares; and what is refused."""
    from accelerate import Accelerator
    from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs

    def fit(options: dict[str, Any] | None, *handlers: Any) -> list[Tensor]:
        accelerator = Accelerator(
            cpu=True, gradient_accumulation_steps=3, kwargs_handlers=[*handlers]
        )
        if options is not None:
            firetree.accelerate.attach(accelerator, **options)
        net = layers()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        model, optimizer, loader = accelerator.prepare(net, optimizer, batches())
        for _ in range(2):
            for x, y in loader:
                with accelerator.accumulate(model):
                    accelerator.backward(nn.functional.mse_loss(model(x), y))
                    optimizer.step()
                    optimizer.zero_grad()
            with torch.no_grad():
                model(x)
        return weights(net)

    small = DistributedDataParallelKwargs(bucket_cap_mb=0.0001)
    found = {way: fit(options) for way, options in WAYS.items()}
    found |= {"DDP": fit(None), "small buckets": fit({"algorithm": "ring"}, small)}

    two = Accelerator(cpu=True)
    firetree.accelerate.attach(two, "ring")
    models = two.prepare(nn.Linear(4, 4), nn.Linear(4, 4))
    fp16 = DistributedDataParallelKwargs(comm_hook=DDPCommunicationHookType.FP16)
    refused = {}
    for name, one in {"prepared": two, "fp16": Accelerator(kwargs_handlers=[fp16])}.items():
        try:
            firetree.accelerate.attach(one)
        except firetree.errors.UserError as error:
            refused[name] = str(error)
    return found, [str(comm_hook_of(model)) for model in models], refused


def by_transformers(folder: Path) -> tuple[Found, list[int]]:
    """Six steps, also resumed after three; and the steps of a Trainer that trains twice."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    texts = torch.randint(32, (64, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": text, "labels": text} for text in texts]
    config = GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)

    def trainer(name: str, *callbacks: Any, steps: int = 6) -> Any:
        torch.manual_seed(0)
        options = TrainingArguments(
            output_dir=str(folder / name),
            use_cpu=True,
            report_to="none",
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_steps=steps,
            save_steps=3,
            eval_strategy="steps",
            eval_steps=3,
            disable_tqdm=True,
            lr_scheduler_type="constant",
            logging_steps=100,
        )
        return Trainer(
            model=GPT2LMHeadModel(config),
            args=options,
            callbacks=[*callbacks],
            train_dataset=data,
            eval_dataset=data[:8],
        )

    ended = {}
    for way in (*WAYS, "DDP"):
        callbacks = [firetree.transformers.Callback(**WAYS[way])] if way in WAYS else []
        ended[way] = trainer(way, *callbacks)
        ended[way].train()
    again = ended["resumed"] = trainer("resumed", firetree.transformers.Callback("ring"))
    again.train(resume_from_checkpoint=str(folder / "ring" / "checkpoint-3"))
    steps, twice = [], trainer("twice", firetree.transformers.Callback("ring"), steps=3)
    for _ in range(2):
        twice.train()
        steps.append(twice.state.global_step)
    return {way: weights(one.model) for way, one in ended.items()}, steps


def by_all(folder: Path) -> tuple[Any, Any, Any]:
    """All three: one process, as importing them takes longest."""
    as_torchrun()
    return by_lightning(folder), by_accelerate(), by_transformers(folder)
