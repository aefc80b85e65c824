"""What all layers here have in common with torch.nn.LSTM, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from firetree.errors import UserError
from firetree.fastweights import (
    IRNN,
    AssociativeLSTM,
    DeltaFastWeights,
    FastWeightRNN,
    FastWeightState,
)

LAYERS = (FastWeightRNN, DeltaFastWeights, AssociativeLSTM)


def tensors(state: Any) -> list[torch.Tensor]:
    return [state.h_LBH, state.A_LBHH] if isinstance(state, FastWeightState) else list(state)


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_a_sequence_among_longer_ones_gives_what_it_gives_alone(
    kind: type, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    layer = kind(3, 4, 2, batch_first=True).double()
    x = torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64)
    for index, length in enumerate(lengths):
        x[index, length:] = torch.nan
    together, state = layer(x, lengths_B=torch.tensor(lengths))
    for index, length in enumerate(lengths):
        alone, its = layer(x[index : index + 1, :length])
        torch.testing.assert_close(together[index, :length], alone[0])
        assert (together[index, length:] == 0).all()
        for ours, theirs in zip(tensors(state), tensors(its), strict=True):
            torch.testing.assert_close(ours[:, index], theirs[:, 0])


@pytest.mark.parametrize("kind", LAYERS)
def test_packed_sequences_give_packed_sequences(kind: type) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4)
    x, lengths = torch.randn(6, 3, 3), torch.tensor([2, 6, 4])
    packed, state = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    y, lengths_too = pad_packed_sequence(packed)
    expected, state_too = layer(x, lengths_B=lengths)
    assert torch.equal(lengths_too, lengths)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(tensors(state), tensors(state_too))


@pytest.mark.parametrize("kind", LAYERS)
def test_axes_weights_and_dropout_are_those_of_an_lstm(kind: type) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, 2, dropout=0.5)
    x = torch.randn(7, 2, 3)
    assert layer(x)[0].shape == (7, 2, 4)
    assert not torch.equal(layer(x)[0], layer(x)[0]), "dropout between the layers"
    layer.eval()
    other = kind(3, 4, 2, batch_first=True).eval()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x.transpose(0, 1))[0].transpose(0, 1), layer(x)[0])


@pytest.mark.parametrize("kind", LAYERS)
def test_within_autocast_a_layer_computes_in_its_weights_precision(kind: type) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, 2)
    x = torch.randn(40, 2, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
        y_on, _ = layer(x, state)
    y_on.sum().backward()
    expected, expected_state = layer(x.float())
    assert torch.equal(y, expected)
    assert torch.equal(y_on, layer(x.float(), expected_state)[0])


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_can_be_cast_to_bfloat16(kind: type) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, 2)
    x = torch.randn(9, 2, 3)
    expected, expected_state = layer(x)
    y, state = layer.bfloat16()(x.bfloat16())
    y.sum().backward()
    assert {tensor.dtype for tensor in (y, *tensors(state))} == {torch.bfloat16}
    for ours, exact in zip([y, *tensors(state)], [expected, *tensors(expected_state)], strict=True):
        torch.testing.assert_close(ours.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", LAYERS)
def test_one_step_is_enough(kind: type) -> None:
    layer = kind(3, 4, batch_first=True)
    x = torch.randn(2, 1, 3, requires_grad=True)
    y, _ = layer(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(2, 0, 3), {}, "2 sequences of 0 steps; expected at least one of each"),
        (torch.zeros(0, 4, 3), {}, "0 sequences of 4 steps; expected at least one of each"),
        (torch.zeros(2, 4, 5), {}, "input of shape (2, 4, 5); expected (B, T, 3) or (T, 3)"),
        (torch.zeros(4, 5), {}, "input of shape (4, 5); expected (B, T, 3) or (T, 3)"),
        (torch.zeros(4), {}, "input of shape (4,); expected (B, T, 3) or (T, 3)"),
        (torch.zeros(4, 3), {"lengths_B": [4]}, "lengths_B and one sequence (T, I)"),
        (torch.zeros(2, 4, 3), {"lengths_B": [4.0, 2.0]}, "lengths of torch.float32; expected int"),
        (torch.zeros(2, 4, 3), {"lengths_B": [0, 4]}, "length 0 of sequence 0; expected 1 to 4"),
        (torch.zeros(2, 4, 3), {"lengths_B": [4, 5]}, "length 5 of sequence 1; expected 1 to 4"),
        (torch.zeros(2, 4, 3), {"lengths_B": [4]}, "lengths of shape (1,); expected one for each"),
        (
            torch.tensor([0.0, torch.nan]).view(1, 2, 1).expand(2, 2, 3),
            {},
            "step 1 of sequence 0 contains NaN or infinity",
        ),
        *(
            (
                torch.ones(2, 4, 3, dtype=dtype),
                {},
                f"input is {dtype}; expected torch.float32, as the layer's weights are: give "
                "input.to(torch.float32)",
            )
            for dtype in (torch.int64, torch.bool, torch.float64, torch.float16, torch.complex64)
        ),
    ],
)
def test_what_is_no_sequence_is_refused_in_one_line(
    kind: type, x: torch.Tensor, options: dict, message: str
) -> None:
    given = {name: torch.tensor(value) for name, value in options.items()}
    with pytest.raises(UserError) as refusal:
        kind(3, 4, batch_first=True)(x, **given)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [*LAYERS, IRNN])
def test_one_sequence_needs_no_axis_for_a_batch(kind: type, batch_first: bool) -> None:
    torch.manual_seed(0)
    layer, x = kind(3, 4, 2, batch_first=batch_first), torch.randn(9, 3)
    expected, _ = layer(x.unsqueeze(0 if batch_first else 1))
    first, state = layer(x[:5])
    y = torch.cat([first, layer(x[5:], state)[0]])
    torch.testing.assert_close(y, expected.squeeze(0 if batch_first else 1))


@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_may_be_a_list(kind: type) -> None:
    torch.manual_seed(0)
    layer, x = kind(3, 4), torch.randn(6, 3, 3)
    assert torch.equal(
        layer(x, lengths_B=[2, 6, 4])[0], layer(x, lengths_B=torch.tensor([2, 6, 4]))[0]
    )


@pytest.mark.parametrize("kind", [FastWeightRNN, DeltaFastWeights])
def test_attention_names_an_input_of_another_dtype(kind: type) -> None:
    with pytest.raises(UserError, match=r"x_BTI is torch.int64; expected torch.float32"):
        kind(3, 4).attention(torch.ones(2, 4, 3, dtype=torch.int64))


def test_integers_are_refused_within_autocast_too() -> None:
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UserError, match=r"input is torch.int64"),
    ):
        FastWeightRNN(3, 4)(torch.ones(4, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_of_another_kind_is_refused(kind: type) -> None:
    layer = kind(3, 4, batch_first=True)
    with pytest.raises(UserError, match=r"a state of type Tensor; expected \w+State"):
        layer(torch.zeros(2, 4, 3), torch.zeros(1, 2, 4))


@pytest.mark.parametrize("kind", LAYERS)
def test_what_only_an_lstm_has_is_refused_by_name(kind: type) -> None:
    kind(3, 4, bias=True, bidirectional=False, proj_size=0)
    for option in ({"bidirectional": True}, {"proj_size": 2}):
        (name,) = option
        with pytest.raises(UserError, match=f"{name} = .*; {kind.__name__} "):
            kind(3, 4, **option)
    with pytest.raises(TypeError, match=f"{kind.__name__} has no option 'hidden'"):
        kind(3, 4, hidden=5)


@pytest.mark.parametrize("kind", [FastWeightRNN, AssociativeLSTM])
def test_a_layer_that_always_has_biases_says_so(kind: type) -> None:
    with pytest.raises(UserError, match=f"bias = False; {kind.__name__} has no form without"):
        kind(3, 4, bias=False)


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_are_made_where_and_as_told(kind: type) -> None:
    layer = kind(3, 4, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_of_another_shape_is_refused(kind: type) -> None:
    x = torch.zeros(2, 4, 3)
    state = kind(3, 4, batch_first=True)(x)[1]
    with pytest.raises(UserError, match=r"state \w+ has shape \(1, 2, .*; expected \(1, 1, "):
        kind(3, 4, batch_first=True)(x[:1], state)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (FastWeightRNN, {"decay": 1.1}, "decay = 1.1; expected 0 to 1"),
        (FastWeightRNN, {"decay": -0.1}, "decay = -0.1; expected 0 to 1"),
        (FastWeightRNN, {"decay": float("nan")}, "decay = nan; expected 0 to 1"),
        (FastWeightRNN, {"rate": -1.0}, "rate = -1.0; expected 0 or more"),
        (FastWeightRNN, {"inner_steps": 0}, "inner_steps = 0; expected 1 or more"),
        (
            FastWeightRNN,
            {"learned": True, "decay": 1.0},
            "decay = 1.0 and rate = 0.5 to be learned",
        ),
        (FastWeightRNN, {"num_layers": 0}, "num_layers = 0; expected 1 or more"),
        (FastWeightRNN, {"dropout": 2.0}, "dropout = 2.0; expected 0 to 1"),
        (DeltaFastWeights, {"heads": 3}, "heads = 3; expected a divisor of hidden_size = 4"),
        (AssociativeLSTM, {"copies": 0}, "copies = 0; expected 1 or more"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(kind: type, options: dict, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        kind(3, 4, **options)
    assert message in str(refusal.value)


def test_an_irnn_keeps_its_state_at_first() -> None:
    layer = IRNN(3, 5, batch_first=True)
    state = torch.rand(1, 2, 5)
    torch.testing.assert_close(layer(torch.zeros(2, 30, 3), state)[1], state)


def test_an_associative_lstm_reads_by_the_conjugate_key_what_it_stored() -> None:
    layer = AssociativeLSTM(3, 16)
    angle, value = torch.rand(8) * 6.28, 0.5 * torch.rand(2, 8)
    key = torch.stack([angle.cos(), angle.sin()])
    conjugate = key * torch.tensor([[1.0], [-1.0]])
    open_gates = torch.full((24,), 100.0)
    features = torch.cat([open_gates, key.flatten(), conjugate.flatten(), value.flatten()])
    empty = torch.zeros(2, 1, 4, 8)
    h_BH, _ = layer._step(features[None], *empty)
    torch.testing.assert_close(h_BH[0], value.flatten())


@pytest.mark.parametrize("kind", [FastWeightRNN, DeltaFastWeights])
def test_a_call_by_the_names_of_an_lstm_is_the_same(kind: Any) -> None:
    layer, x = kind(3, 4), torch.randn(5, 2, 3)
    layer.flatten_parameters()
    y, state = layer(input=x, hx=None)
    assert torch.equal(y, layer(x)[0])
    assert torch.equal(layer(input=x, hx=state)[0], layer(x, state)[0])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FastWeightRNN, {"form": "recurrent"}),
        (FastWeightRNN, {"nonlinearity": "sigmoid"}),
        (DeltaFastWeights, {"form": "matrix"}),
    ],
)
def test_a_form_that_a_layer_lacks_is_refused(kind: Any, options: dict[str, str]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(UserError, match=f"{name} = '{value}'; expected one of "):
        kind(3, 4, **options)
