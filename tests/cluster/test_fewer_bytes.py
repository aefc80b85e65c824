"""DiLoCo, SparseLoCo and DeMo on real ranks, against their papers' equations for all ranks in one loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from ranks import run_on_ranks
from scipy.fft import dctn, idctn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from firetree.models.profile import Gradient, Profile
from firetree.planning.compressions import chunks_of, matrix_of, parse_compression, tile_of
from firetree.sync import attach
from firetree.training.local_steps import LocalSteps
from firetree.training.recipe import SyncRecipe

RANKS, STEPS = 3, 12
DILOCO = SyncRecipe(local_steps=4, outer_lr=0.7, outer_momentum=0.9)
SPARSELOCO = SyncRecipe(compression="sparseloco:0.03:0.9", local_steps=4, outer_lr=0.7)
AHEAD = SyncRecipe(compression="sparseloco:0.03:0.9", step_ahead=True)
TURNS = SyncRecipe(compression="turns:5", local_steps=2, step_ahead=True)
DEMO, COMPONENTS, DECAY = "demo:5:0.9", 5, 0.9
COUNTED = {
    "topk:0.01": 40,
    "sparseloco:0.02": 40,
    "turns:8": 40,
    "demo:32": 40,
    "int8": 3.9,
    "e3m0": 5.2,
}
"""How many times fewer bytes each sends from three ranks, at least."""
UNDECAYED = ("sparseloco:0.5:1", "turns:3", "demo:1:1")


def net() -> nn.Sequential:
    """A convolution, an odd matrix, and more than one chunk of each kind."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 72, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72 * 16, 7), nn.Tanh()
    )


def loss(model: nn.Module, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rank + step)
    x_BCHW = torch.randn(4, 3, 6, 6, generator=generator)
    return (model(x_BCHW) - 0.1 * rank).square().mean()  # type: ignore[no-any-return]


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def set_flat(model: nn.Module, weights: Tensor) -> None:
    sizes = [p.numel() for p in model.parameters()]
    for p, part in zip(model.parameters(), weights.split(sizes), strict=True):
        p.data.copy_(part.view_as(p))


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.5)


@pytest.fixture(scope="module")
def on_ranks() -> dict[str, list[Any]]:
    """What each rank found of each kind; all in one start of the ranks."""
    of_ranks = run_on_ranks(RANKS, on_rank)
    return {kind: [of_rank[kind] for of_rank in of_ranks] for kind in of_ranks[0]}


def on_rank() -> dict[str, Any]:
    return {
        "diloco": local_steps_on_rank(DILOCO),
        "sparseloco": local_steps_on_rank(SPARSELOCO),
        "ahead": local_steps_on_rank(AHEAD),
        "turns": local_steps_on_rank(TURNS),
        "demo": demo_on_rank(),
        "bytes": [bytes_of_a_step(compression) for compression in COUNTED],
        "off": [off_in_half_precision(compression) for compression in UNDECAYED],
        "odd": [odd_gradients(compression) for compression in COUNTED],
    }


def local_steps_on_rank(sync: SyncRecipe) -> Tensor:
    parallel = DistributedDataParallel(net())
    synchroniser = attach(parallel, "ring", compression=sync.compression)
    optimizer = sgd(parallel)
    part = LocalSteps(parallel, optimizer, synchroniser, sync)
    for step in range(STEPS):
        part.before(step)
        optimizer.zero_grad()
        with parallel.no_sync():
            loss(parallel, dist.get_rank(), step).backward()
        optimizer.step()
        part.after_step(step, looked_at=False)
    return flat(parallel.module)


def local_steps_alone(
    every: int,
    outer_step: Callable[[list[np.ndarray]], np.ndarray],
    ahead: Sequence[np.ndarray | float] = (0.0,) * RANKS,
) -> tuple[Tensor, Tensor]:
    """At the start and at the end; `outer_step` says how far the shared weights step along changes.

    Each rank begins `ahead` of these.
    """
    model = net()
    start = shared = flat(model).double()
    for first in range(0, STEPS, every):
        changes = []
        for rank in range(RANKS):
            begun = shared - ahead[rank]
            set_flat(model, begun)
            optimizer = sgd(model)
            for step in range(first, first + every):
                optimizer.zero_grad()
                loss(model, rank, step).backward()
                optimizer.step()
            changes.append((begun - flat(model)).numpy())
        shared = shared - torch.from_numpy(outer_step(changes))
    return start, shared


def check_steps(found: list[Tensor], start: Tensor, expected: Tensor, alike: float = 1.0) -> None:
    """At least the share `alike` of the weights: rounding may decide which numbers are the largest."""
    assert all(torch.equal(it, found[0]) for it in found)
    assert (expected - start).abs().max() > 0.01
    assert ((found[0] - expected).abs() < 1e-5).double().mean() >= alike


def test_diloco_takes_the_steps_of_its_paper(on_ranks: dict[str, list[Any]]) -> None:
    """Algorithm 1 with Nesterov's momentum."""
    velocity = np.zeros(1)

    def outer_step(changes: list[np.ndarray]) -> np.ndarray:
        nonlocal velocity
        mean = sum(changes) / RANKS
        velocity = 0.9 * velocity + mean
        return 0.7 * (mean + 0.9 * velocity)

    check_steps(on_ranks["diloco"], *local_steps_alone(DILOCO.local_steps, outer_step))


def two_bits(values: np.ndarray) -> np.ndarray:
    """Q: the mean size of the large ones for a large one, of the others for another, with its sign."""
    sizes = np.abs(values)
    is_large = sizes > sizes.mean()
    levels = [
        sizes[is_large == which].mean() if (is_large == which).any() else 0 for which in (0, 1)
    ]
    levels = torch.tensor(levels).bfloat16().double().tolist()
    return np.where(values < 0, -1, 1) * np.where(is_large, levels[1], levels[0])


def sparse_step(
    errors: list[np.ndarray | float], changes: list[np.ndarray], share: float, decay: float
) -> np.ndarray:
    """The mean of what ranks send of their changes; `errors` are what they keep."""
    total = np.zeros_like(changes[0])
    for rank, change in enumerate(changes):
        error = errors[rank] = decay * errors[rank] + change
        length = math.ceil(len(error) / math.ceil(len(error) / 4096))
        for begin in range(0, len(error), length):
            chunk = error[begin : begin + length]
            chosen = np.argsort(-np.abs(chunk))[: math.ceil(share * length)]
            sent = two_bits(chunk[chosen])
            total[begin + chosen] += sent
            chunk[chosen] -= sent
    return total / RANKS


def test_sparseloco_takes_the_steps_of_its_paper(on_ranks: dict[str, list[Any]]) -> None:
    """Algorithm 1."""
    errors: list[np.ndarray | float] = [0.0] * RANKS
    found = local_steps_alone(
        SPARSELOCO.local_steps, lambda changes: 0.7 * sparse_step(errors, changes, 0.03, 0.9)
    )
    check_steps(on_ranks["sparseloco"], *found)


def test_ranks_step_ahead_by_what_they_have_not_sent(on_ranks: dict[str, list[Any]]) -> None:
    """In every step, of one step each."""
    errors: list[np.ndarray | float] = [0.0] * RANKS
    found = local_steps_alone(1, lambda changes: sparse_step(errors, changes, 0.03, 0.9), errors)
    check_steps(on_ranks["ahead"], *found, alike=0.9)


def test_each_number_is_sent_in_its_turn(on_ranks: dict[str, list[Any]]) -> None:
    errors: list[np.ndarray | float] = [0.0] * RANKS
    turn = 0

    def outer_step(changes: list[np.ndarray]) -> np.ndarray:
        nonlocal turn
        total = np.zeros_like(changes[0])
        length = 5 * chunks_of(len(total), 1 / 5)[2]
        for rank, change in enumerate(changes):
            error = errors[rank] = errors[rank] + change
            for begin in range(0, len(error), length):
                place = np.s_[begin + turn : begin + length : 5]
                filled = np.zeros(length // 5)
                filled[: len(error[place])] = error[place]
                sent = two_bits(filled)[: len(error[place])]
                total[place] += sent
                error[place] -= sent
        turn = (turn + 1) % 5
        return total / RANKS

    found = local_steps_alone(TURNS.local_steps, outer_step, errors)
    check_steps(on_ranks["turns"], *found, alike=0.9)


def demo_on_rank() -> Tensor:
    parallel = DistributedDataParallel(net())
    attach(parallel, "ring", compression=DEMO)
    optimizer = sgd(parallel)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(parallel, dist.get_rank(), step).backward()
        optimizer.step()
    return flat(parallel.module)


def fast_components(momentum: np.ndarray) -> np.ndarray:
    """What DeMo takes out of a momentum, chunk by chunk."""
    taken = np.zeros(momentum.shape)
    height, width = tile_of(momentum.shape)
    for row in range(0, momentum.shape[0], height):
        for column in range(0, momentum.shape[1], width):
            place = np.s_[row : row + height, column : column + width]
            components = dctn(momentum[place], norm="ortho").flatten()
            chosen = np.argsort(-np.abs(components))[:COMPONENTS]
            kept = np.zeros_like(components)
            kept[chosen] = torch.from_numpy(components[chosen]).bfloat16().double()
            taken[place] = idctn(kept.reshape(height, width), norm="ortho")
    return taken


def demo_alone() -> tuple[Tensor, Tensor]:
    """Algorithm 1 with plain SGD; at the start and at the end.

    DDP cuts its buckets anew after the first step, and momenta begin again then.
    """
    model = net()
    start = flat(model)
    optimizer = sgd(model)
    momenta: list[dict[str, np.ndarray]] = [{} for _ in range(RANKS)]
    for step in range(STEPS):
        total: dict[str, Any] = {name: 0 for name, _ in model.named_parameters()}
        for rank, momentum in enumerate(momenta):
            optimizer.zero_grad()
            loss(model, rank, step).backward()
            if step == 1:
                momentum.clear()
            for name, p in model.named_parameters():
                assert p.grad is not None
                before = momentum.get(name, 0)
                grown = DECAY * before + p.grad.double().numpy().reshape(matrix_of(p.shape))
                taken = fast_components(grown)
                momentum[name] = grown - taken
                total[name] = total[name] + taken
        for name, p in model.named_parameters():
            p.grad = torch.from_numpy(total[name] / RANKS).float().view_as(p)
        optimizer.step()
    return start, flat(model)


def test_demo_takes_the_steps_of_its_paper(on_ranks: dict[str, list[Any]]) -> None:
    check_steps(on_ranks["demo"], *demo_alone())


def bytes_of_a_step(compression: str) -> float:
    """What a rank sends in a step of a model in several buckets."""
    model = nn.Sequential(nn.Linear(640, 320), nn.Linear(320, 256), nn.Linear(256, 100))
    parallel = DistributedDataParallel(model, bucket_cap_mb=0.5)
    synchroniser = attach(parallel, "ring", compression=compression)
    sent = []
    for _ in range(6):
        before = synchroniser.sent_bytes()
        parallel(torch.ones(2, 640)).square().sum().backward()
        sent.append(synchroniser.sent_bytes() - before)
    return sum(sent[2:]) / 4  # DDP cuts its buckets anew after the first


def test_plan_counts_the_bytes_that_ranks_send(on_ranks: dict[str, list[Any]]) -> None:
    shapes = [(320, 640), (320,), (256, 320), (256,), (100, 256), (100,)]
    gradients = tuple(Gradient("", 4 * math.prod(shape), 0.0, shape) for shape in shapes)
    whole = Profile(1.0, 1.0, gradients)
    all_reduce = 2 * (RANKS - 1) / RANKS
    for compression, *sent in zip(COUNTED, *on_ranks["bytes"], strict=True):
        planned = parse_compression(compression).compressed(whole, RANKS)
        assert sent == pytest.approx([all_reduce * planned.size_bytes] * RANKS, rel=0.05)
        assert planned.size_bytes < whole.size_bytes / COUNTED[compression]


@given(st.integers(1, 20_000), st.sampled_from([0.001, 0.02, 1.0]))
def test_chunks_hold_all_numbers_and_send_the_share(numbers: int, share: float) -> None:
    chunks, length, sent = chunks_of(numbers, share)
    assert numbers <= chunks * length < numbers + chunks
    assert length <= 4096
    assert share * length <= sent < share * length + 1


@given(st.lists(st.integers(1, 300), max_size=4))
def test_tiles_fill_the_matrix(shape: list[int]) -> None:
    rows, columns = matrix_of(shape)
    assert rows * columns == math.prod(shape)
    height, width = tile_of(shape)
    assert rows % height == columns % width == 0
    assert max(height, width) <= 64


class Odd(nn.Module):
    """Parameters without axes, without numbers, and of a prime length."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.empty = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(0, 3))
        self.linear = nn.Linear(5, 127)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) * self.scale + self.empty.sum()
        return y


def odd_gradients(compression: str) -> Tensor:
    """The third step's gradients, all in one."""
    torch.manual_seed(0)
    parallel = DistributedDataParallel(Odd())
    attach(parallel, "ring", compression=compression)
    for _ in range(3):
        parallel.zero_grad()
        parallel(torch.ones(2, 5)).square().sum().backward()
    return torch.cat([p.grad.flatten() for p in parallel.parameters() if p.grad is not None])


def off_in_half_precision(compression: str) -> Tensor:
    """How far the mean gradient of bfloat16 weights over many steps, all ones, is off."""
    parallel = DistributedDataParallel(nn.Linear(96, 40).bfloat16())
    attach(parallel, "ring", compression=compression)
    weight = parallel.module.weight
    summed = torch.zeros(40, 96)
    for step in range(31):
        parallel.zero_grad()
        parallel(torch.ones(1, 96, dtype=torch.bfloat16)).sum().backward()
        assert weight.grad is not None
        assert weight.grad.dtype == torch.bfloat16
        summed += weight.grad if step else 0.0  # buckets are cut anew after the first
    return summed / 30 - 1


def test_gradients_of_16_bits_come_through(on_ranks: dict[str, list[Any]]) -> None:
    for of_rank in on_ranks["off"]:
        assert all(off.abs().mean() < 0.1 for off in of_rank)


def test_parameters_of_any_shape_have_the_same_mean_on_all_ranks(
    on_ranks: dict[str, list[Any]],
) -> None:
    for first, *others in zip(*on_ranks["odd"], strict=True):
        assert first.isfinite().all()
        assert first.any()
        assert all(torch.equal(first, other) for other in others)
