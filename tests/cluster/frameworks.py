"""Small trainings by Lightning, Accelerate and Hugging Face's Trainer, with and without firetree.

Each runs on two ranks of one process group.
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
from firetree.observing import end_watch
from firetree.torch_private import comm_hook_of

Options = dict[str, Any] | None
"""How to attach; None for plain DDP."""
WAYS: dict[str, Options] = {
    "DDP": None,
    "auto": {},
    "gloo": {"algorithm": "gloo"},
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


def fit_by_lightning(
    folder: Path, options: Options, epochs: int = 2, start: Path | None = None
) -> Any:
    """Lightning's Trainer after two epochs of three steps, with an evaluation after each."""
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

    trainer = lightning.Trainer(
        strategy=DDPStrategy() if options is None else firetree.lightning.Strategy(**options),
        accelerator="cpu",
        devices=2,
        max_epochs=epochs,
        accumulate_grad_batches=3,
        limit_val_batches=2,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(), batches(), batches(), ckpt_path=start)
    return trainer


def by_lightning(folder: Path) -> tuple[Found, dict[str, int]]:
    """Weights by the name of a way, and how often a rank evaluated."""
    ended = {way: fit_by_lightning(folder, options) for way, options in WAYS.items()}
    half = fit_by_lightning(folder, WAYS["auto"], epochs=1)
    half.save_checkpoint(folder / "half.ckpt")
    ended["resumed"] = fit_by_lightning(folder, WAYS["auto"], start=folder / "half.ckpt")
    nets = {way: trainer.lightning_module for way, trainer in ended.items()}
    return (
        {way: weights(net) for way, net in nets.items()},
        {way: net.evaluated for way, net in nets.items()},
    )


def fit_by_accelerate(options: Options, *handlers: Any) -> list[Tensor]:
    """Weights after two epochs of three steps, with an evaluation after each."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=3, kwargs_handlers=[*handlers])
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


def by_accelerate() -> tuple[Found, list[str], dict[str, str]]:
    """Weights by the name of a way; the hooks of two models; and what is refused."""
    from accelerate import Accelerator
    from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs

    small = DistributedDataParallelKwargs(bucket_cap_mb=0.0001)
    found = {way: fit_by_accelerate(options) for way, options in WAYS.items()}
    found["small buckets"] = fit_by_accelerate(WAYS["auto"], small)

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


def trainer_of_transformers(folder: Path, options: Options, steps: int = 6) -> Any:
    """A Trainer of six steps, with an evaluation and a checkpoint after every third."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    texts = torch.randint(32, (64, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": text, "labels": text} for text in texts]
    torch.manual_seed(0)
    return Trainer(
        model=GPT2LMHeadModel(
            GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
        ),
        args=TrainingArguments(
            output_dir=str(folder),
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
        ),
        callbacks=[] if options is None else [firetree.transformers.Callback(**options)],
        train_dataset=data,
        eval_dataset=data[:8],
    )


def by_transformers(folder: Path) -> Found:
    """Weights by the name of a way."""
    found = {}
    for way, options in WAYS.items():
        trainer = trainer_of_transformers(folder / way, options)
        trainer.train()
        found[way] = weights(trainer.model)
    resumed = trainer_of_transformers(folder / "resumed", WAYS["auto"])
    resumed.train(resume_from_checkpoint=str(folder / "auto" / "checkpoint-3"))
    found["resumed"] = weights(resumed.model)
    return found


def by_all(folder: Path, run_dir: Path) -> tuple[Any, Any, Any]:
    """All three in one process, as importing them takes longest; and once more each, observed."""
    as_torchrun()
    found = by_lightning(folder), by_accelerate(), by_transformers(folder)
    observe: Options = {"algorithm": "observe", "run_dir": run_dir}
    fit_by_lightning(folder, observe)
    fit_by_accelerate(observe)
    twice = trainer_of_transformers(folder / "observed", observe, steps=3)
    for _ in range(2):  # the model is attached already when it trains again
        twice.train()
    end_watch()
    return found
