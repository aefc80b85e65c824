"""Language models: nothing from later symbols, and symbol by symbol the same as all at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firetree.errors import UserError
from firetree.models import language, parameter_count
from firetree.models.language import LanguageNetwork

NAMES = language.names()
TRAINED = [
    # Its compiled code takes twenty seconds to compile.
    pytest.param(name, marks=[pytest.mark.slow] if name == "lm_fast_weights" else [])
    for name in NAMES
]
LENGTH = 9


def made(name: str, **fields: object) -> LanguageNetwork:
    torch.manual_seed(0)
    fields = {"hidden": 16, "layers": 2, **fields}
    network = language.build(name, symbols=11, length=LENGTH, **fields).eval()
    with torch.no_grad():  # far from where all blocks do nearly nothing
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.mul_(10)
    return network


def text() -> torch.Tensor:
    return torch.randint(11, (3, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_later_symbol_changes_no_earlier_logits(name: str) -> None:
    network, x_BT = made(name), text()
    other_BT = x_BT.clone()
    other_BT[:, 5] = (x_BT[:, 5] + 1) % 11
    before, after = network(x_BT), network(other_BT)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
    assert not torch.allclose(before[:, 8], after[:, 8]), "what is before is seen"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cuts", [(1,) * LENGTH, (4, 1, 4)])
@torch.no_grad()
def test_with_a_state_symbols_give_what_they_do_all_at_once(
    name: str, cuts: tuple[int, ...]
) -> None:
    network, x_BT = made(name), text()
    state, parts = None, []
    for part_BT in x_BT.split(cuts, dim=1):
        logits, state = network.go_on(part_BT, state)
        parts.append(logits)
    assert state is not None
    assert state.read == LENGTH
    torch.testing.assert_close(torch.cat(parts, 1), network(x_BT), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_learns_also_without_a_sample(name: str) -> None:
    network = made(name).train()
    for x_BT in (text(), text()[:0]):
        network.zero_grad()
        logits = network(x_BT)
        assert logits.shape == (len(x_BT), LENGTH, 11)
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_trained_in_bfloat16_too(name: str) -> None:
    network = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(text())
    logits.float().sum().backward()
    torch.testing.assert_close(logits.float(), network(text()), rtol=0.3, atol=0.3)


def test_a_gpt_has_the_parameters_that_one_counts_by_hand() -> None:
    hidden, layers = 16, 2
    block = 12 * hidden**2 + 4 * hidden
    expected = (11 + LENGTH) * hidden + layers * block + 2 * hidden
    assert parameter_count(made("gpt", heads=2)) == expected


def test_a_new_network_finds_all_symbols_about_equally_probable() -> None:
    torch.manual_seed(0)
    network = language.build("gpt", symbols=256, length=LENGTH)
    log_p = network(text()).detach().log_softmax(-1)
    assert log_p.mean() == pytest.approx(-5.545, abs=0.1)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("lm_gpt", {}, "no language model 'lm_gpt'"),
        ("gpt", {"heads": 3}, "heads = 3; expected a divisor of hidden = 16"),
        ("lm_delta", {"heads": 3}, "heads = 3; expected a divisor of hidden_size = 16"),
        ("lm_lstm", {"heads": 2}, "model.heads = 2; 'lm_lstm' does not have this field"),
        ("lm_fast_weights", {"rate": -0.1}, "rate = -0.1; expected 0 or more"),
        ("gpt", {"heads": 0}, "model.heads = 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(
    name: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        made(name, **fields)
    assert message in str(refusal.value)
