"""What a script does with a DDP model, it does with an attached one, to the bit."""

from __future__ import annotations

import copy
import gc
import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import firetree


class Words(nn.Module):
    """Two tables with sparse gradients between layers with dense ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Embedding(20, 8, sparse=True)
        self.third, self.fourth = nn.EmbeddingBag(9, 8, sparse=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        words = x.long().abs() % 9
        return self.fourth(self.first(x) + self.second(words).sum(1) + self.third(words)).sum()


class Sometimes(nn.Module):
    """A layer that some inputs do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.always(x)
        return (self.sometimes(x) if x[0, 0] > 0 else x).sum()


class Own(nn.Module):
    """A layer of another shape on each rank, which DDP is told to ignore."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.shared = nn.Linear(4, 5 + dist.get_rank()), nn.Linear(5, 1)
        nn.init.constant_(self.shared.weight, 0.5)
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            self, ["own.weight", "own.bias"]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.own(x)[:, :5])


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 60), nn.Linear(60, 60), nn.Linear(60, 1))


def steps(model: nn.Module) -> list[Tensor | None]:
    """Three steps whose inputs differ from rank to rank; every gradient and all weights."""
    torch.manual_seed(dist.get_rank())
    optimizer, found = torch.optim.SGD(model.parameters(), 0.1), []
    dtype = next(model.parameters()).dtype
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(3, 4).to(dtype)).abs().sum().backward()
        found += [None if p.grad is None else p.grad.to_dense().clone() for p in model.parameters()]
        optimizer.step()
    return [*found, *(p.detach().clone() for p in model.parameters())]


def accumulated(model: nn.Module) -> list[Tensor | None]:
    with model.no_sync():
        steps(model)
    return steps(model)


def after_an_error(model: nn.Module) -> list[Tensor | None]:
    """A loss whose backward pass raises on all ranks, and what the script does then."""
    loss = model(torch.ones(3, 4)).sum()
    loss.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loss.backward()
    return steps(model)


def uneven(model: nn.Module) -> list[Tensor | None]:
    """Means over all ranks, and then over those that have samples left."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for over_all in (True, False, True):
        with Join([model], divide_by_initial_world_size=over_all):
            for k in range(2 + 2 * dist.get_rank()):
                optimizer.zero_grad()
                model(torch.full((2, 4), float(k))).sum().backward()
                optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def huge(model: nn.Module) -> list[Tensor | None]:
    """Gradients whose mean is finite, and whose sum is not."""
    x = torch.full((1, 4), torch.finfo(next(model.parameters()).dtype).max * 0.9)
    model(x.to(next(model.parameters()).dtype)).sum().backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    return gradients


def of_a_copy(model: nn.Module) -> list[Tensor | None]:
    """Copies of every kind train as copies of a DDP model do, and leave the model as it was."""
    steps(model)
    average = AveragedModel(model)
    average.update_parameters(model)
    file = io.BytesIO()
    torch.save(model, file)
    assert b"firetree" not in file.getvalue()
    file.seek(0)
    read = torch.load(file, weights_only=False)
    found = [steps(one) for one in (copy.deepcopy(model), read, average.module, model)]
    return [one for part in found for one in part]


def compiled(model: nn.Module) -> list[Tensor | None]:
    return steps(torch.compile(model, backend="eager"))


def forked(model: nn.Module) -> list[Tensor | None]:
    """A child that only looks at the model, and ends as children do."""
    before = steps(model)
    child = os.fork()
    if child == 0:
        model.state_dict()
        del model
        gc.collect()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    return [*before, *steps(model)]


Script = Callable[[nn.Module], list[Tensor | None]]
SCRIPTS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], Script]] = {
    "buckets": (layers, {"bucket_cap_mb": 0.001}, steps),
    "sparse": (Words, {}, steps),
    "unused": (Sometimes, {"find_unused_parameters": True}, steps),
    "static": (layers, {"static_graph": True}, steps),
    "views": (layers, {"gradient_as_bucket_view": True}, accumulated),
    "complex": (lambda: layers().to(torch.complex64), {}, steps),
    "bfloat16": (lambda: layers().bfloat16(), {}, steps),
    "mixed": (lambda: nn.Sequential(nn.Linear(4, 4), Doubled()), {}, steps),
    "error": (layers, {}, after_an_error),
    "uneven": (layers, {}, uneven),
    "uneven and static": (layers, {"static_graph": True}, uneven),
    "uneven in many buckets": (layers, {"bucket_cap_mb": 0.001}, uneven),
    "huge": (lambda: nn.Linear(4, 1), {}, huge),
    "huge in 16 bits": (lambda: nn.Linear(4, 1).half(), {}, huge),
    "ignored": (Own, {}, steps),
    "copies": (layers, {}, of_a_copy),
    "fork": (layers, {}, forked),
    "compiled": (layers, {}, compiled),
}


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.double())


def both(
    names: tuple[str, ...], algorithm: str, run_dir: str | None
) -> dict[str, list[tuple[bool, bool]]]:
    """Of each result, whether it is there alike and equal to DDP's."""
    found = {}
    for name in names:
        build, options, script = SCRIPTS[name]
        results = []
        for ours in (False, True):
            torch.manual_seed(0)
            model = DistributedDataParallel(build(), **options)
            if ours:
                firetree.attach(model, algorithm, run_dir=run_dir)
            results.append(script(model))
        found[name] = [
            ((a is None) == (b is None), a is None or b is None or torch.equal(a, b))
            for a, b in zip(*results, strict=True)
        ]
    return found


EAGER = tuple(name for name in SCRIPTS if name != "compiled")


@pytest.mark.parametrize(
    ("names", "algorithm", "watched"),
    [
        (EAGER, "binomial_tree", False),
        (EAGER, "ring", True),
        (EAGER, "observe", True),
        pytest.param(("compiled",), "binomial_tree", True, marks=pytest.mark.slow),
        pytest.param(("compiled",), "observe", True, marks=pytest.mark.slow),
    ],
)
def test_a_script_gets_what_ddp_gives_it(
    names: tuple[str, ...], algorithm: str, watched: bool, tmp_path: Path
) -> None:
    run_dir = str(tmp_path / "run") if watched else None
    for found in run_on_ranks(2, both, names, algorithm, run_dir):
        for name, results in found.items():
            assert results, name
            assert all(there and equal for there, equal in results), name


COMPRESSIONS = ("fp16", "bf16", "int8", "topk:0.1", "topk:1", "powersgd:1")


def after_overflow(compression: str) -> tuple[float, float]:
    """GradScaler leaves out a step that is infinite on rank 0; how far the next gradients are off."""
    torch.manual_seed(0)
    net, scaler = layers(), torch.amp.GradScaler("cpu", init_scale=1.0)
    model, exact = DistributedDataParallel(net), DistributedDataParallel(copy.deepcopy(net))
    firetree.attach(model, "ring", compression=compression)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    summed = [torch.zeros_like(p) for p in net.parameters()]
    expected = [torch.zeros_like(p) for p in net.parameters()]
    for step in range(40):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(100 * dist.get_rank() + step))
        bad = step == 4
        factor = float("inf") if bad and dist.get_rank() == 0 else 1e4 if bad else 1.0
        for one in (model, exact):
            one.zero_grad()
            (scaler.scale(one(x).square().mean()) * factor).backward()
        if bad:
            scaler.step(optimizer)
            scaler.update()
            assert scaler.get_scale() == 0.5, "the step was left out"
            continue
        for total, one in ((summed, model), (expected, exact)):
            for place, p in zip(total, one.parameters(), strict=True):
                place += p.grad if step > 4 else 0.0
    flat, exactly = (torch.cat([t.flatten() for t in total]) for total in (summed, expected))
    return float((flat - exactly).norm() / exactly.norm()), float(flat.norm())


@pytest.mark.parametrize(
    "compression",
    [
        *COMPRESSIONS,
        pytest.param("sparseloco:0.5:1", marks=pytest.mark.slow),
        pytest.param("demo:64:1", marks=pytest.mark.slow),
    ],
)
def test_after_a_step_that_a_scaler_leaves_out_gradients_are_right_again(compression: str) -> None:
    (off, norm), other = run_on_ranks(2, after_overflow, compression)
    assert off < 0.3
    assert norm == other[1], "alike on all ranks"


def held_after(models: int, run_dir: str) -> tuple[list[int], list[int]]:
    """Descriptors, Python's threads and all threads after one model, and after many."""

    def count() -> list[int]:
        gc.collect()
        return [len(os.listdir("/proc/self/fd")), threading.active_count(), threads()]

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def train(k: int) -> None:
        model = DistributedDataParallel(nn.Linear(4, 4))
        if k % 5 == 4:
            firetree.attach(model, "observe", run_dir=run_dir)
        else:
            algorithm = ("binomial_tree", "ring", "gloo")[k % 3]
            compression = ("none", "int8", "topk", "powersgd")[k % 4]
            firetree.attach(model, algorithm, compression=compression, run_dir=run_dir)
        for _ in range(3):
            model(torch.ones(1, 4)).sum().backward()

    for k in range(5):
        train(k)
    before = count()
    for k in range(models):
        train(k)
    until_s = time.monotonic() + 10.0
    while sum(after := count()) > sum(before) and time.monotonic() < until_s:
        time.sleep(0.1)  # the last model's threads are on their way out
    return before, after


@pytest.mark.parametrize("models", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_models_that_are_dropped_leave_nothing_open(models: int, tmp_path: Path) -> None:
    for before, after in run_on_ranks(2, held_after, models, str(tmp_path / "run")):
        assert all(now <= then + 2 for then, now in zip(before, after, strict=True)), (
            before,
            after,
        )


def spans_that_nobody_takes() -> int:
    model = DistributedDataParallel(nn.Linear(1, 1))
    synchroniser = firetree.attach(model)
    for _ in range(5000):
        model(torch.ones(1, 1)).backward()
    return len(synchroniser.record.take().buckets)


def test_spans_that_nobody_takes_are_dropped_in_time() -> None:
    assert run_on_ranks(1, spans_that_nobody_takes) == [1024]
