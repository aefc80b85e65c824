"""Checkpoints are whole or recognised as damaged, and give back every bit."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from firetree.errors import UserError
from firetree.training import checkpoint
from firetree.training.average import moving_average
from firetree.training.checkpoint import TrainingState
from firetree.training.optimizers import build_optimizer
from firetree.training.recipe import OptimRecipe


def trained(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def write(folder: Path, step: int, keep: int = 9) -> Path:
    captured = checkpoint.capture(*trained(step), TrainingState(step, {"name": "net"}, {"size": 3}))
    return checkpoint.write(folder, captured, keep)


def test_weights_and_momentum_come_back_to_the_bit(tmp_path: Path) -> None:
    write(tmp_path, 7)
    (model, optimizer), (expected, expected_optimizer) = trained(1), trained(7)
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert damaged == []
    checkpoint.restore(found, model, optimizer)
    assert found.state == TrainingState(7, {"name": "net"}, {"size": 3})
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        momentum = optimizer.state[ours]["momentum_buffer"]
        assert torch.equal(momentum, expected_optimizer.state[theirs]["momentum_buffer"])


def test_the_order_of_an_optimisers_groups_does_not_matter(tmp_path: Path) -> None:
    model, _ = trained(0)
    optim = OptimRecipe(batch_rule="lamb")
    optimizer = build_optimizer(optim, model)
    optimizer.step()
    captured = checkpoint.capture(model, optimizer, TrainingState(1, {}, {}))
    other, _ = trained(1)
    others = build_optimizer(optim, other)
    checkpoint.restore(captured, other, others)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[ours].items():
            assert torch.equal(value, others.state[theirs][name])


def test_a_moving_average_is_the_checkpoints_model_and_training_goes_on_from_its_own() -> None:
    model, optimizer = trained(0)
    average = moving_average(model, 0.5)
    average.update_parameters(model)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    average.update_parameters(model)
    captured = checkpoint.capture(model, optimizer, TrainingState(1, {}, {}), average)
    assert torch.equal(captured.model["0.weight"], average.module[0].weight)
    other, others = trained(1)
    its_average = moving_average(other, 0.5)
    checkpoint.restore(captured, other, others, its_average)
    assert torch.equal(other[0].weight, model[0].weight)
    assert torch.equal(its_average.module[0].weight, average.module[0].weight)
    assert its_average.n_averaged == 2


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write(tmp_path, step, keep=2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-00000015", "step-00000020"]


def steps_in(folder: Path) -> list[int]:
    return sorted(int(entry.name.removeprefix("step-")) for entry in folder.iterdir())


def damage(path: Path) -> None:
    (path / "SHA256SUMS").write_bytes(b"")


def test_a_damaged_one_is_never_removed_and_does_not_push_out_new_ones(tmp_path: Path) -> None:
    damage(write(tmp_path, 30))
    damage(write(tmp_path, 5))
    write(tmp_path, 10, keep=1)
    write(tmp_path, 20, keep=1)
    assert steps_in(tmp_path) == [5, 20, 30]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000):
        write(tmp_path, step, keep=1)
    assert steps_in(tmp_path) == [100_000_000]


def test_what_a_death_left_while_it_wrote_or_removed_is_cleared_away(tmp_path: Path) -> None:
    shutil.copytree(write(tmp_path, 1), tmp_path / ".step-00000009.tmp")
    write(tmp_path, 2)
    assert steps_in(tmp_path) == [1, 2]


def with_sums(path: Path, state: str) -> Path:
    """The checkpoint with another state.json, and sums that say it is whole."""
    (path / "state.json").write_text(state)
    rows = (path / "SHA256SUMS").read_text().splitlines()[:-1]
    rows.append(f"{hashlib.sha256(state.encode()).hexdigest()}  state.json")
    (path / "SHA256SUMS").write_text("".join(f"{row}\n" for row in rows))
    return path


def test_one_of_another_version_is_not_gone_back_behind(tmp_path: Path) -> None:
    write(tmp_path, 1)
    newer = with_sums(write(tmp_path, 2), '{"version": 3, "shards": []}')
    (newer / "optimizer.safetensors").unlink()  # whatever that version has instead
    with pytest.raises(
        UserError, match=r"step-00000002 is of version 3, .* reads those up to 2; use"
    ):
        checkpoint.newest(tmp_path)


def test_one_that_cannot_be_read_now_is_not_gone_back_behind(tmp_path: Path) -> None:
    write(tmp_path, 1)
    file = write(tmp_path, 2) / "model.safetensors"
    file.unlink()
    file.symlink_to(file.name)  # an error of the system for root, too
    with pytest.raises(
        UserError, match=r"cannot read .*/model.safetensors: Too many levels .* try"
    ):
        checkpoint.newest(tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        "{",
        '{"version": "x"}',
        '{"step": 2}',
        '{"step": "2", "model": {}, "data": {}}',
        '{"step": 2, "model": [], "data": {}}',
        '{"step": 3, "model": {}, "data": {}}',
    ],
)
def test_a_state_that_says_nothing_is_damage_whatever_its_sums(tmp_path: Path, state: str) -> None:
    write(tmp_path, 1)
    with_sums(write(tmp_path, 2), state)
    assert_first_is_used(tmp_path)


def test_where_all_are_damaged_each_is_named(tmp_path: Path) -> None:
    damage(write(tmp_path, 1))
    (write(tmp_path, 2) / "state.json").unlink()
    with pytest.raises(UserError) as refusal:
        checkpoint.newest(tmp_path)
    assert "none of the 2 checkpoints" in str(refusal.value)
    assert "step-00000001 is damaged" in str(refusal.value)
    assert "step-00000002 lacks state.json" in str(refusal.value)


def test_one_of_the_version_before_is_read(tmp_path: Path) -> None:
    with_sums(write(tmp_path, 2), '{"version": 1, "step": 2, "model": {}, "data": {}}')
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.state.step, found.state.ranks, damaged) == (2, 0, [])


def with_parts(folder: Path) -> Path:
    state = TrainingState(2, {"name": "net"}, {"size": 3}, ranks=2)
    captured = checkpoint.capture(*trained(2), state, parts=(b"of one", b"of the other"))
    return checkpoint.write(folder, captured, 9)


def test_what_each_rank_had_comes_back_in_turn(tmp_path: Path) -> None:
    with_parts(tmp_path)
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (list(found.parts), damaged) == ([b"of one", b"of the other"], [])


def test_one_that_lacks_what_a_rank_had_or_has_it_changed_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, 1)
    part = with_parts(tmp_path) / "rank-0001.safetensors"
    part.write_bytes(b"of another")
    assert_first_is_used(tmp_path)
    part.unlink()
    assert_first_is_used(tmp_path)


def test_tensors_of_another_network_are_named() -> None:
    model, optimizer = trained(0)
    captured = checkpoint.capture(model, optimizer, TrainingState(1, {}, {}))
    weights, moments = captured.model, captured.optimizer
    wrong = {
        "lacks the tensor '0.bias'": ({k: v for k, v in weights.items() if k != "0.bias"}, moments),
        r"has, as \(1,\), the tensor '9'": (weights | {"9": torch.zeros(1)}, moments),
        r"has, as \(7,\), the tensor '0.bias'": (weights | {"0.bias": torch.zeros(7)}, moments),
        "has, as .*, the tensor '9/m'": (weights, moments | {"9/m": torch.zeros(1)}),
        "has, as .*, the tensor '0.bias/m'": (weights, moments | {"0.bias/m": torch.zeros(7)}),
    }
    for message, tensors in wrong.items():
        with pytest.raises(UserError, match=message):
            checkpoint.restore(checkpoint.Checkpoint(captured.state, *tensors), model, optimizer)


FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.data())
def test_a_file_cut_off_anywhere_is_recognised_and_the_one_before_used(
    tmp_path: Path, file: str, data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path)
    write(tmp_path, 1)
    path = write(tmp_path, 2) / file
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert_first_is_used(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.data())
def test_one_changed_bit_is_recognised_and_the_one_before_used(
    tmp_path: Path, file: str, data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path)
    write(tmp_path, 1)
    path = write(tmp_path, 2) / file
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    assert_first_is_used(tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_recognised_and_the_one_before_used(tmp_path: Path, file: str) -> None:
    write(tmp_path, 1)
    (write(tmp_path, 2) / file).unlink()
    assert_first_is_used(tmp_path)


def assert_first_is_used(folder: Path) -> None:
    found, damaged = checkpoint.newest(folder)
    assert found is not None
    assert found.state.step == 1
    assert len(damaged) == 1
    assert damaged[0].startswith("checkpoint step-00000002 ")


def test_a_folder_that_was_being_written_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    finished = write(tmp_path, 1)
    shutil.copytree(finished, tmp_path / ".step-00000002.tmp")
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.state.step, damaged) == (1, [])


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") == (None, [])
