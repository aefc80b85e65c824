"""Weights held at zero: which, from when to when, and that a resumed run finds the same."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from firetree.models.pruning import largest
from firetree.training.average import moving_average
from firetree.training.recipe import SparseRecipe
from firetree.training.sparsity import Sparsity


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_the_largest_share_is_kept_and_nothing_smaller(seed: int, density: float) -> None:
    weights = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
    kept = largest([weights], density)[0]
    assert kept.sum() == max(1, round(density * 35))
    if not kept.all():
        assert weights[kept].abs().min() >= weights[~kept].abs().max()


def stepped(net: nn.Module, sparsity: Sparsity, steps: range) -> list[float]:
    """Move all weights in each step, then hold; the density after each."""
    densities = []
    for step in steps:
        torch.manual_seed(step)
        sparsity.before(step)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        sparsity.after_step(step, looked_at=True)
        densities.append(float((net[0].weight != 0).float().mean()))
    return densities


def test_a_run_is_dense_then_sparse_then_dense() -> None:
    net = nn.Sequential(nn.Linear(20, 10))
    sparsity = Sparsity([net], SparseRecipe(density=0.5, first_epoch=0.2, last_epoch=0.5), 10)
    densities = stepped(net, sparsity, range(10))
    assert densities == [1.0] * 2 + [0.5] * 3 + [1.0] * 5
    assert (net[0].bias != 0).all()


def test_without_a_last_epoch_it_stays_sparse() -> None:
    net = nn.Sequential(nn.Linear(20, 10))
    assert stepped(net, Sparsity([net], SparseRecipe(density=0.25), 10), range(30)) == [0.25] * 30


def test_a_ramp_prunes_fast_at_first_and_ends_at_the_density() -> None:
    net = nn.Sequential(nn.Linear(40, 25))
    recipe = SparseRecipe(density=0.2, first_epoch=1, ramp_epochs=6.4)
    densities = stepped(net, Sparsity([net], recipe, 10), range(90))
    chosen = [densities[step] for step in (9, 10, 26, 42, 58, 74, 89)]
    assert chosen == pytest.approx([1.0, 1.0, 0.5375, 0.3, 0.2125, 0.2, 0.2], abs=1e-3)
    assert sorted(densities, reverse=True) == densities


def test_all_layers_together_keep_the_density() -> None:
    net = nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 30))
    with torch.no_grad():
        net[1].weight.mul_(3)
    stepped(net, Sparsity([net], SparseRecipe(density=0.5, scope="global"), 10), range(1))
    kept = [float((layer.weight != 0).float().mean()) for layer in net]
    assert kept[0] < kept[1]
    assert 200 * kept[0] + 300 * kept[1] == pytest.approx(250)


def test_a_resumed_run_holds_the_same_weights() -> None:
    recipe = SparseRecipe(density=0.3, ramp_epochs=1.7)
    whole = nn.Sequential(nn.Linear(20, 10))
    resumed = copy.deepcopy(whole)
    stepped(whole, Sparsity([whole], recipe, 10), range(20))
    stepped(resumed, Sparsity([resumed], recipe, 10), range(9))
    stepped(resumed, Sparsity([resumed], recipe, 10), range(9, 20))
    assert torch.equal(whole[0].weight, resumed[0].weight)


@pytest.mark.parametrize("ramp_epochs", [0.0, 2.0])
def test_a_run_that_was_dense_so_far_is_pruned_when_it_is_resumed_sparse(
    ramp_epochs: float,
) -> None:
    net = nn.Sequential(nn.Linear(20, 10))
    recipe = SparseRecipe(density=0.3, ramp_epochs=ramp_epochs)
    assert stepped(net, Sparsity([net], recipe, 10), range(55, 58)) == pytest.approx([0.3] * 3)


def test_an_average_has_the_zeros_too() -> None:
    net = nn.Sequential(nn.Linear(20, 10))
    average = moving_average(net, 0.9)
    average.update_parameters(net)
    recipe = SparseRecipe(density=0.25, first_epoch=1)
    sparsity = Sparsity([net, average.module], recipe, 10)
    stepped(net, sparsity, range(12))
    average.update_parameters(net)
    sparsity.after_step(12, looked_at=True)
    assert torch.equal(average.module[0].weight != 0, net[0].weight != 0)


def test_of_equal_weights_no_more_stay_than_should() -> None:
    assert largest([0.05 * torch.eye(10)], 0.3)[0].sum() == 30
    (kept,) = largest([torch.diag(torch.arange(10.0))], 0.05)
    assert kept.diagonal().tolist() == [False] * 5 + [True] * 5


def test_zeros_of_its_own_do_not_make_a_dense_run_a_sparse_one() -> None:
    net = nn.Sequential(nn.Embedding(10, 20, padding_idx=0), nn.Linear(20, 10))
    sparsity = Sparsity([net], SparseRecipe(density=0.3), 10)
    sparsity.before(55)
    sparsity.after_step(55, looked_at=True)
    assert [int((part.weight != 0).sum()) for part in net] == [60, 60]
