"""The base of the recurrent layers here, which are called like torch.nn.LSTM.

Letters in names: B batch, T time, I input features, H hidden, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from firetree.errors import UserError

State = TypeVar("State")
Sequence = TypeVar("Sequence", Tensor, PackedSequence)

_ELSEWHERE: Mapping[str, tuple[object, str]] = {
    "bias": (True, "has no form without biases; leave it out"),
    "bidirectional": (False, "reads forwards only; give a second one x.flip() of the time axis"),
    "proj_size": (0, "does not project its outputs; put a torch.nn.Linear behind it"),
}
"""Options of torch.nn.LSTM that the layers here lack: the only value allowed, and what to do instead."""

_LARGEST_INPUT = 1e12
"""With larger inputs, norms and their gradients could overflow in float32 for weights up to 1e6."""


class SequenceLayers(nn.Module, Generic[State]):
    """Stacked layers; a subclass defines one layer's computation and its state.

    Args:
        input_size: I, features of a step.
        hidden_size: H, features of a step's output.
        num_layers: L; each layer but the first reads the outputs of the layer below.
        batch_first: axes (B, T, I) instead of (T, B, I), for inputs and outputs.
        dropout: dropout probability between layers in training.
        device, dtype: of the parameters.
        elsewhere: other options of torch.nn.LSTM, which must have their default values.

    Raises:
        UserError: a size below 1, a dropout outside 0 to 1, or an option that only torch.nn.LSTM has.
    """

    _state_kind: type
    """The type of the state."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **elsewhere: object,
    ):
        super().__init__()
        for name, value in elsewhere.items():
            if name not in _ELSEWHERE:
                raise TypeError(f"{type(self).__name__} has no option '{name}'")
            default, instead = _ELSEWHERE[name]
            if value != default:
                raise UserError(f"{name} = {value}; {type(self).__name__} {instead}")
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"{name} = {size}; expected 1 or more")
        check_share("dropout", dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first = batch_first
        self.dropout = dropout
        self._device, self._dtype = device, dtype

    def _add(self, name: str, layer: int, value: Tensor) -> None:
        placed = value.to(self._device, self._dtype)
        self.register_parameter(f"{name}_l{layer}", nn.Parameter(placed))

    def _weight(self, name: str, layer: int) -> Tensor:
        value: Tensor = getattr(self, f"{name}_l{layer}")
        return value

    def flatten_parameters(self) -> None:
        """Do nothing; for scripts that call it on any recurrent layer."""

    def forward(
        self,
        input: Sequence,  # noqa: A002  # torch.nn.LSTM's names, which callers give
        hx: State | None = None,
        lengths_B: Tensor | Iterable[int] | None = None,
    ) -> tuple[Sequence, State]:
        """Outputs at every step, and the state after the last.

        It computes in its weights' precision, and its outputs have it, also within autocast.

        Args:
            input: (B, T, I) or (T, B, I) as `batch_first` says, a packed sequence, or one sequence (T, I),
                whose outputs and state have no axis B either.
            hx: the state from an earlier call; None to start anew.
            lengths_B: steps of each sequence, if they differ. Later outputs are 0, and the state is
                that after each sequence's last step. The integers may be on any device.

        Raises:
            UserError: no steps, NaN or infinity in the input, or a wrong dtype, shape or length.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths_B)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            axes = "(B, T, " if self.batch_first else "(T, B, "
            raise UserError(
                f"input of shape {shape(input)}; expected {axes}{self.input_size}) or (T, {self.input_size})"
            )
        if input.ndim == 2:
            return self._alone(input, hx, lengths_B)
        x_BTI = input if self.batch_first else input.transpose(0, 1)
        y_BTH, state = self._padded(x_BTI, hx, lengths_B)
        return (y_BTH if self.batch_first else y_BTH.transpose(0, 1)), state

    def _alone(
        self, x_TI: Tensor, state: State | None, lengths_B: Tensor | Iterable[int] | None
    ) -> tuple[Any, State]:
        """One sequence, as a batch of one."""
        if lengths_B is not None:
            raise UserError(
                "lengths_B and one sequence (T, I); cut the sequence to its length instead"
            )
        if state is not None:
            state = self._each(self._known(state), lambda part: part.unsqueeze(1))
        y_1TH, after = self._padded(x_TI[None], state, None)
        return y_1TH[0], self._each(after, lambda part: part.squeeze(1))

    def _packed(
        self, x: PackedSequence, state: State | None, lengths_B: Tensor | Iterable[int] | None
    ) -> tuple[Any, State]:
        if lengths_B is not None:
            raise UserError("lengths_B and a packed sequence, which has its own; leave them out")
        x_BTI, lengths_B = pad_packed_sequence(x, batch_first=True)
        y_BTH, state = self._padded(x_BTI, state, lengths_B)
        y = pack_padded_sequence(y_BTH, lengths_B, batch_first=True, enforce_sorted=False)
        return y, state

    def _padded(
        self, x_BTI: Tensor, state: State | None, lengths_B: Tensor | Iterable[int] | None
    ) -> tuple[Tensor, State]:
        device_type, dtype = x_BTI.device.type, next(self.parameters()).dtype
        if torch.is_autocast_enabled(device_type) and x_BTI.is_floating_point():
            # The memory sums over many steps, so it needs the weights' full precision.
            with torch.autocast(device_type, enabled=False):
                return self._padded(x_BTI.to(dtype), state, lengths_B)
        check_dtype("input", x_BTI, dtype)
        size_B, size_T, _ = x_BTI.shape
        if not size_B or not size_T:
            raise UserError(f"{size_B} sequences of {size_T} steps; expected at least one of each")
        behind_BT = None
        if lengths_B is None:
            lengths_B = torch.full((size_B,), size_T, device=x_BTI.device)
        else:
            lengths_B = _checked_lengths(lengths_B, size_B, size_T).to(x_BTI.device)
            behind_BT = torch.arange(size_T, device=x_BTI.device) >= lengths_B[:, None]
            x_BTI = x_BTI.masked_fill(behind_BT[:, :, None], 0)
        largest = float(torch.stack(torch.aminmax(x_BTI.detach())).abs().amax())
        if not math.isfinite(largest):
            sequence, step, _ = (~x_BTI.isfinite()).nonzero()[0].tolist()
            raise UserError(
                f"step {step} of sequence {sequence} contains NaN or infinity; expected finite inputs"
            )
        computed_in = self._computed_in(x_BTI.dtype, largest)
        if computed_in != x_BTI.dtype:
            return self._padded_in(computed_in, x_BTI, state, lengths_B)
        states: list[Any] = [None] * self.num_layers
        if state is not None:
            own = self._each(self._known(state), lambda part: part.to(x_BTI.dtype))
            states = self._split(own, x_BTI)
        after = []
        for layer, before in enumerate(states):
            if layer:
                x_BTI = dropout(x_BTI, self.dropout, self.training)
            x_BTI, at_end = self._run(layer, x_BTI, before, lengths_B)
            if behind_BT is not None:
                x_BTI = x_BTI.masked_fill(behind_BT[:, :, None], 0)
            after.append(at_end)
        return x_BTI, self._join(after)

    def _computed_in(self, dtype: torch.dtype, largest: float) -> torch.dtype:
        """The precision for inputs of this dtype and largest magnitude."""
        if largest > _LARGEST_INPUT:
            return torch.float64
        return torch.float32 if dtype == torch.float16 else dtype  # sums in float16 end at 65,504

    def _padded_in(
        self, dtype: torch.dtype, x_BTI: Tensor, state: State | None, lengths_B: Tensor
    ) -> tuple[Tensor, State]:
        """`_padded` with weights converted to this precision; the state keeps it."""
        weights = {name: weight.to(dtype) for name, weight in self.named_parameters()}
        x = (x_BTI if self.batch_first else x_BTI.transpose(0, 1)).to(dtype)
        y, after = functional_call(self, weights, (x, state, lengths_B))
        y_BTH = y if self.batch_first else y.transpose(0, 1)
        return y_BTH.to(x_BTI.dtype), after

    def _known(self, state: State) -> State:
        if not isinstance(state, self._state_kind):
            given, expected = type(state).__name__, self._state_kind.__name__
            raise UserError(
                f"a state of type {given}; expected {expected}, as an earlier call returned"
            )
        return state

    def _each(self, state: State, change: Callable[[Tensor], Tensor]) -> State:
        """The state with every tensor changed."""
        return self._state_kind(*map(change, state))  # type: ignore[call-overload, no-any-return]

    def _run(self, layer: int, x_BTI: Tensor, before: Any, lengths_B: Tensor) -> tuple[Tensor, Any]:
        """One layer: its outputs (B, T, H), and its own part of the state after `lengths_B` steps."""
        raise NotImplementedError

    def _split(self, state: State, x_BTI: Tensor) -> list[Any]:
        """The parts of a state, one for each layer, after checking their shapes."""
        raise NotImplementedError

    def _join(self, parts: list[Any]) -> State:
        """The opposite of `_split`."""
        raise NotImplementedError


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise UserError unless the value is one of the choices."""
    if value not in choices:
        raise UserError(f"{name} = {value!r}; expected one of {', '.join(choices)}")


def check_share(name: str, value: float) -> None:
    """Raise UserError unless the value is from 0 to 1."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} = {value}; expected 0 to 1")


def check_inner_steps(inner_steps: int) -> None:
    """Raise UserError unless S is 1 or more."""
    if inner_steps < 1:
        raise UserError(f"inner_steps = {inner_steps}; expected 1 or more")


def check_rate(rate: float) -> None:
    """Raise UserError unless η is a number of 0 or more."""
    if not 0 <= rate < math.inf:
        raise UserError(f"rate = {rate}; expected 0 or more")


def check_dtype(name: str, tensor: Tensor, expected: torch.dtype) -> None:
    """Raise UserError unless a tensor has the dtype of the layer's weights."""
    if tensor.dtype != expected:
        raise UserError(
            f"{name} is {tensor.dtype}; expected {expected}, as the layer's weights are: give "
            f"{name}.to({expected})"
        )


def check_state(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise UserError unless a part of a state has the expected shape."""
    if tensor.shape != expected:
        raise UserError(f"state {name} has shape {shape(tensor)}; expected {expected}")


def shape(tensor: Tensor) -> tuple[int, ...]:
    """A tensor's shape as a plain tuple, for messages."""
    return tuple(tensor.shape)


def last_steps(y_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    """y_BH at each sequence's last step."""
    return y_BTH[torch.arange(len(y_BTH), device=y_BTH.device), lengths_B - 1]


def _checked_lengths(given: Tensor | Iterable[int], size_B: int, size_T: int) -> Tensor:
    lengths_B = given if isinstance(given, Tensor) else torch.tensor(list(given))
    if lengths_B.is_floating_point() or lengths_B.dtype == torch.bool:
        raise UserError(f"lengths of {lengths_B.dtype}; expected integers")
    if lengths_B.shape != (size_B,):
        raise UserError(f"lengths of shape {shape(lengths_B)}; expected one for each of {size_B}")
    wrong = (lengths_B < 1) | (lengths_B > size_T)
    if wrong.any():
        index = int(wrong.nonzero()[0])
        raise UserError(
            f"length {int(lengths_B[index])} of sequence {index}; expected 1 to {size_T}, the steps given"
        )
    return lengths_B
