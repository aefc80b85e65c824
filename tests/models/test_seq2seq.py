"""Networks from sequence to sequence: one step at a time as all at once, and the best that they know."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from firetree.data.vocabulary import END, PADDING
from firetree.errors import UserError
from firetree.models import parameter_count, seq2seq
from firetree.models.seq2seq import SequenceToSequence

NAMES = seq2seq.names()


def made(name: str, seed: int = 0, targets: int = 9) -> SequenceToSequence:
    torch.manual_seed(seed)
    return seq2seq.build(name, sources=7, targets=targets, hidden=8).eval()


def batch() -> Tensor:
    """x_B2T with sources of 1 to 6 symbols."""
    torch.manual_seed(1)
    x_B2T = torch.randint(2, 7, (6, 2, 6))
    for b in range(6):
        x_B2T[b, 0, b + 1 :] = PADDING
    return x_B2T


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1, 1), (2, 4)])
def test_symbols_a_few_at_a_time_give_what_all_at_once_do(name: str, cuts: tuple[int, ...]) -> None:
    network, x_B2T = made(name), batch()
    state, parts = network.begin(x_B2T[:, 0]), []
    for before in x_B2T[:, 1].split(cuts, dim=1):
        logits, state = network.go_on(before, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), network(x_B2T), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_what_comes_later_change_nothing(name: str) -> None:
    network, x_B2T = made(name), batch()
    logits = network(x_B2T)
    wider = torch.cat([x_B2T, torch.zeros(6, 2, 3, dtype=torch.int64)], 2)
    torch.testing.assert_close(network(wider)[:, :6], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(x_B2T[:1, :, :3]), logits[:1, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_also_without_a_pair(name: str) -> None:
    network = made(name).train()
    for x_B2T in (batch(), batch()[:0]):
        network.zero_grad()
        logits = network(x_B2T)
        assert logits.shape == (len(x_B2T), 6, 9)
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_trained_in_bfloat16_too(name: str) -> None:
    network = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(batch())
    logits.float().sum().backward()
    torch.testing.assert_close(logits.float(), network(batch()), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameters", [50_000, 1_000_000])
def test_a_width_is_found_for_a_number_of_parameters(name: str, parameters: int) -> None:
    network = seq2seq.build(name, sources=31, targets=41, parameters=parameters)
    assert parameter_count(network) == pytest.approx(parameters, rel=0.08)


def test_fast_weights_know_the_first_symbol_of_a_source_as_well_as_the_last() -> None:
    torch.manual_seed(0)
    network = seq2seq.build("seq2seq_fast_weights", sources=7, targets=9, hidden=8, rate=0.5)
    *_, A_BHH = network.begin(torch.tensor([[2, 3], [2, PADDING]]))
    whole_HH, of_first_HH = A_BHH.detach()
    assert torch.linalg.matrix_rank(whole_HH) == 2
    for of_one_HH in (of_first_HH, whole_HH - of_first_HH):
        assert torch.linalg.matrix_rank(of_one_HH, rtol=1e-5) == 1
        # Normalised units have squares of 1 in the mean; about half of them are above 0.
        assert of_one_HH.trace() == pytest.approx(0.5 * 8 / 2, rel=0.5)


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_a_transformer_finds_a_width_for_its_heads(heads: int) -> None:
    network = seq2seq.build(
        "seq2seq_transformer", sources=31, targets=41, parameters=50_000, heads=heads
    )
    assert parameter_count(network) == pytest.approx(50_000, rel=0.15)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("seq2seq_gru", {}, "no network 'seq2seq_gru'"),
        ("seq2seq_lstm", {"decay": 0.5}, "model.decay = 0.5; 'seq2seq_lstm' does not have this"),
        (
            "seq2seq_delta",
            {"decay": 0.5},
            "model.decay = 0.5; 'seq2seq_delta' does not have this field",
        ),
        ("seq2seq_transformer", {"heads": 3}, "heads = 3; expected a divisor of hidden = 8"),
        ("seq2seq_fast_weights", {"rate": -0.1}, "rate = -0.1; expected 0 or more"),
        ("seq2seq_lstm", {"heads": 2}, "model.heads = 2; 'seq2seq_lstm' does not have this field"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, fields, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        seq2seq.build(name, sources=7, targets=9, hidden=8, **fields)
    assert message in str(refusal.value)


def log_probability(network: SequenceToSequence, source_1S: Tensor, symbols: list[int]) -> float:
    before = torch.tensor([[END, *symbols[:-1]]])
    logits, _ = network.go_on(before, network.begin(source_1S))
    return float(logits.log_softmax(2)[0, range(len(symbols)), symbols].sum())


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.sampled_from(NAMES), st.integers(1, 4))
@torch.inference_mode()
def test_a_beam_that_holds_all_targets_finds_the_best_of_all(
    seed: int, name: str, most: int
) -> None:
    network = made(name, seed, targets=4)
    for parameter in network.parameters():
        parameter.mul_(3)  # so that targets differ in how probable they are
    source = torch.tensor([[2, 3, END]])
    inner = (2, 3)
    every = [[*body, END] for length in range(most) for body in product(inner, repeat=length)]
    every += [list(body) for body in product(inner, repeat=most)]
    scores = [log_probability(network, source, symbols) / len(symbols) for symbols in every]
    [found] = seq2seq.search(network, source, end=END, beam=2**most, most=most)
    assert found.score == pytest.approx(max(scores), abs=1e-4)
    symbols = every[scores.index(max(scores))]
    if sorted(scores)[-2:][0] < max(scores) - 1e-4:
        assert list(found.symbols) == [symbol for symbol in symbols if symbol != END]


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.sampled_from(NAMES))
@torch.inference_mode()
def test_a_beam_of_one_takes_the_most_probable_symbol_each_time(seed: int, name: str) -> None:
    network = made(name, seed)
    source = torch.tensor([[4, 2, 3, END]])
    symbols, state = [END], network.begin(source)
    while len(symbols) <= 8:
        logits, state = network.go_on(torch.tensor([symbols[-1:]]), state)
        logits[:, :, PADDING] = -torch.inf
        symbols.append(int(logits.argmax()))
        if symbols[-1] == END:
            break
    [found] = seq2seq.search(network, source, end=END, beam=1, most=8)
    assert list(found.symbols) == [symbol for symbol in symbols if symbol != END]


class Chain(SequenceToSequence):
    """2, 3, 4 and the end follow each other, each by nine in ten."""

    def begin(self, source_BS: Tensor) -> tuple[Tensor, ...]:
        return (source_BS,)

    def go_on(
        self, before_BT: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        p = torch.full((*before_BT.shape, 5), 0.025)
        following = torch.tensor([0, 2, 3, 4, END])[before_BT]
        return p.scatter(2, following[:, :, None], 0.9).log(), state


@pytest.mark.parametrize("beam", range(1, 5))
def test_poor_targets_that_end_early_do_not_end_the_search(beam: int) -> None:
    [found] = seq2seq.search(Chain(), torch.tensor([[2, END]]), end=END, beam=beam, most=9)
    assert found.symbols == (2, 3, 4)
    assert found.score == pytest.approx(math.log(0.9), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_sources_searched_together_get_what_each_gets_alone(name: str) -> None:
    network, source_BS = made(name, seed=3), batch()[:, 0]
    for beam in (1, 3):
        together = seq2seq.search(network, source_BS, end=END, beam=beam, most=7)
        for b, found in enumerate(together):
            alone = source_BS[b : b + 1, : b + 1]
            [expected] = seq2seq.search(network, alone, end=END, beam=beam, most=7)
            assert found.symbols == expected.symbols
            assert math.isclose(found.score, expected.score, abs_tol=1e-4)
