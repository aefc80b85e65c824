"""The steps that are found in scripts of different make, on two ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_on_ranks
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import firetree
from firetree.observing import end_watch
from firetree.sync.wrapping import attach_when_wrapped
from firetree.trace import RankTrace, read_trace

STEPS, BATCH = 5, 4


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, width))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.01)


def loader(batches: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(batches * BATCH, 4)), batch_size=BATCH)


def in_pieces(run_dir: Path) -> None:
    """Each step from two micro-batches, with an evaluation and a saved file after the second step."""
    model = DistributedDataParallel(net())
    firetree.attach(model, "observe", run_dir=run_dir)
    optimizer = sgd(model)
    for number, (x,) in enumerate(loader(2 * STEPS)):
        if number % 2:
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        else:
            with model.no_sync():
                model(x).sum().backward()
        if number == 3:
            with torch.no_grad():
                for (held_out,) in loader(2):
                    model.module(held_out)
                    time.sleep(0.02)
            torch.save(model.state_dict(), run_dir.parent / f"{dist.get_rank()}.pt")


def adversarial(run_dir: Path) -> None:
    """Two models with an optimiser each; the second one's pass goes through both."""
    judge, maker = (DistributedDataParallel(net(width)) for width in (1, 4))
    for model in (judge, maker):
        firetree.attach(model, "ring", run_dir=run_dir)
    of_judge, of_maker = sgd(judge), sgd(maker)
    for (x,) in loader(STEPS):
        of_judge.zero_grad()
        (judge(x) - judge(maker(x).detach())).sum().backward()
        of_judge.step()
        of_maker.zero_grad()
        judge(maker(x)).sum().backward()
        of_maker.step()


def slow(batches: int) -> Iterator[Tensor]:
    for _ in range(batches):
        time.sleep(0.05)
        yield torch.ones(BATCH, 4)


def from_a_generator(run_dir: Path) -> None:
    """Data of one's own make, and a step without an optimiser."""
    model = DistributedDataParallel(net())
    firetree.attach(model, "observe", run_dir=run_dir)
    for x in slow(STEPS):
        model.zero_grad()
        model(x).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad


def by_a_closure(run_dir: Path) -> None:
    """An optimiser that calls the passes itself."""
    model = DistributedDataParallel(net())
    firetree.attach(model, "observe", run_dir=run_dir)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    for (x,) in loader(STEPS):

        def again(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            return loss

        optimizer.step(again)


def of_one_layer(run_dir: Path) -> None:
    """A model whose parameters have no module around them."""
    model = DistributedDataParallel(nn.Linear(4, 4))
    firetree.attach(model, "observe", run_dir=run_dir)
    optimizer = sgd(model)
    for (x,) in loader(STEPS):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()


def with_its_own_hook(run_dir: Path) -> None:
    """An unchanged script that chooses one of PyTorch's hooks."""
    attach_when_wrapped("ring", run_dir)
    model = DistributedDataParallel(net())
    model.register_comm_hook(None, fp16_compress_hook)
    optimizer = sgd(model)
    for (x,) in loader(STEPS):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()


def sharded(run_dir: Path) -> None:
    """An unchanged script that shards its model by FSDP."""
    attach_when_wrapped("ring", run_dir)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = net()
    for part in (*model, model):
        if not isinstance(part, nn.ReLU):
            fsdp.fully_shard(part, mesh=mesh)
    optimizer = sgd(model)
    for (x,) in loader(STEPS):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()


def run(script: Callable[[Path], None], run_dir: Path) -> None:
    script(run_dir)
    end_watch()


def traced(script: Callable[[Path], None], tmp_path: Path) -> tuple[RankTrace, ...]:
    run_on_ranks(2, run, script, tmp_path / "run")
    ranks = read_trace(tmp_path / "run").ranks
    for rank in ranks:
        assert [step.step for step in rank.steps] == [*range(STEPS)]
        for step in rank.steps:
            assert step.passes or script is sharded
            assert step.buckets
            assert step.phases[-1].end_s - step.phases[0].start_s == pytest.approx(step.step_s)
            for bucket in step.buckets:
                assert bucket.ready_s <= bucket.start_s <= bucket.end_s
    assert ranks[0].header.world_size == 2
    return ranks


def test_micro_batches_make_one_step_and_evaluation_and_saving_are_told_apart(
    tmp_path: Path,
) -> None:
    for rank in traced(in_pieces, tmp_path):
        assert [step.samples for step in rank.steps] == [2 * BATCH] * STEPS
        assert [len(step.passes) for step in rank.steps] == [1] * STEPS
        evaluated = rank.steps[2]
        assert evaluated.evaluation_s > 0.02
        assert evaluated.saving_s > 0
        assert all(step.evaluation_s == step.saving_s == 0 for step in rank.steps if step.step != 2)
        assert all(step.data_wait_s > 0 for step in rank.steps)
        assert {"0", "2"} == {it.layer for step in rank.steps for it in step.layer_times}
        assert set(rank.steps[0].buckets[0].layers) == {"0", "2"}


def test_a_step_of_two_models_has_the_buckets_of_both(tmp_path: Path) -> None:
    for rank in traced(adversarial, tmp_path):
        for step in rank.steps:
            assert [bucket.model for bucket in step.buckets].count(1) == 1
            assert [bucket.model for bucket in step.buckets].count(0) == 2
            assert len(step.passes) == 2
            assert step.samples == BATCH
            assert step.evaluation_s == 0


def test_a_generator_of_ones_own_is_waited_for_as_data(tmp_path: Path) -> None:
    for rank in traced(from_a_generator, tmp_path):
        assert all(step.data_wait_s > 0.05 for step in rank.steps[1:])


def test_an_optimiser_may_compute_the_gradients_itself(tmp_path: Path) -> None:
    for rank in traced(by_a_closure, tmp_path):
        assert all(step.forward_s > 0 and step.optimizer_s > 0 for step in rank.steps)


def without_a_backends_name() -> str:
    dist.destroy_process_group()
    dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    return firetree.attach(DistributedDataParallel(net()), "observe").algorithm


def test_ddps_own_sums_are_named_where_the_script_leaves_the_backend_to_torch() -> None:
    assert run_on_ranks(1, without_a_backends_name) == ["gloo"]


def test_a_hook_of_the_script_is_left_in_charge_and_measured(tmp_path: Path) -> None:
    for rank in traced(with_its_own_hook, tmp_path):
        assert {step.algorithm for step in rank.steps} == {"fp16_compress_hook"}


def test_a_sharded_model_is_observed_with_the_bytes_of_its_collectives(
    tmp_path: Path,
) -> None:
    for rank in traced(sharded, tmp_path):
        assert rank.header.algorithm == "fsdp"
        for step in rank.steps[1:]:  # the first one's pass had begun
            weights = {4 * (4 * 8 + 8), 4 * (8 * 4 + 4)}
            assert weights <= {bucket.size_bytes for bucket in step.buckets}
            assert [it.index for it in step.buckets] == [*range(len(step.buckets))]
            assert step.forward_s > 0
            assert step.backward_s > 0


def test_the_parameters_of_the_model_itself_are_layers_of_their_own(tmp_path: Path) -> None:
    for rank in traced(of_one_layer, tmp_path):
        assert {it.name for it in rank.header.layers} == {"weight", "bias"}
        for step in rank.steps:
            assert step.buckets[0].layers == ("weight", "bias")
            assert {it.layer for it in step.layer_times} == {"weight", "bias"}
