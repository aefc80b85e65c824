"""Record the fast weights and the attention of a run's net while it reads sequences.

Letters in names: T steps, D features of a matrix's side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from firetree.errors import UserError
from firetree.fastweights import DeltaFastWeights, FastWeightRNN
from firetree.models.families import names
from firetree.models.recurrent import SequenceClassifier
from firetree.shown import Shown
from firetree.tasks import Recall, RecallData, load_recall
from firetree.training import read_kept_recipe, read_run

SEEN = ("fast_weights", "delta")
"""Networks whose fast weights can be recorded."""

TEST_SEQUENCES = 3
"""How many test sequences are read by default."""


@dataclass(frozen=True, slots=True, repr=False)
class Reading(Shown):
    """A sequence that a net has read.

    Args:
        symbols: the T symbols.
        answer: the net's output after the last symbol.
        expected: the label; None if it is unknown.
        matrices: fast weights M_TDD after each step, by name.
        attention: weights_TT by name, from `FastWeightRNN.attention` or `DeltaFastWeights.attention`.
    """

    symbols: tuple[str, ...]
    answer: str
    expected: str | None
    matrices: Mapping[str, Tensor]
    attention: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return f"<Reading of {' '.join(self.symbols)} → {self.answer}>"


def readings(run_dir: str | PathLike[str], texts: Sequence[str] = ()) -> tuple[Reading, ...]:
    """Read the first test sequences of a run, or `texts`, with its newest checkpoint.

    Empty for a run whose net has no fast weights.

    Args:
        run_dir: the folder of a run.
        texts: sequences, as `c9k8j3f1??c` or `c 9 k 8 j 3 f 1 ? ? c`. Spaces are required if some symbols
            have several letters, such as the value 12.

    Raises:
        UserError: no recipe or complete checkpoint yet, or a text with unknown symbols.
    """
    run_dir = Path(run_dir)
    recipe = read_kept_recipe(run_dir / "recipe.toml")
    if not isinstance(recipe.data, RecallData) or recipe.model.name not in SEEN:
        if texts:
            raise UserError(
                f"'{texts[0]}' for {run_dir}, a run of '{recipe.model.name}' on '{recipe.data.name}'; "
                f"expected one of {' or '.join(SEEN)} on {' or '.join(names(RecallData))}"
            )
        return ()
    task = load_recall(recipe.data, recipe.seed)
    chosen = [(_parsed(text, task), None) for text in texts] or _first_of_test(task)
    model = task.build(asdict(recipe.model))
    assert isinstance(model, SequenceClassifier)
    model.load_state_dict(read_run(run_dir).weights)
    return tuple(_read(model, task, x_T, expected) for x_T, expected in chosen)


def _parsed(text: str, task: Recall) -> Tensor:
    known = task.splits.symbols
    apart = any(len(symbol) > 1 for symbol in known)
    symbols = text.split() if apart or " " in text else list(text)
    for symbol in symbols:
        if symbol not in known:
            how = ", with spaces between them" if apart else ""
            raise UserError(f"'{symbol}' in '{text}'; expected symbols of {' '.join(known)}{how}")
    if not symbols:
        raise UserError(f"'{text}' has no symbols; expected some of {' '.join(known)}")
    return torch.tensor([known.index(symbol) for symbol in symbols])


def _first_of_test(task: Recall) -> list[tuple[Tensor, str | None]]:
    test, classes = task.splits.test, task.splits.classes
    answers = test.y.reshape(len(test), -1)[:, -1]
    return [
        (torch.from_numpy(test.x_NT[index]), classes[answers[index]])
        for index in range(TEST_SEQUENCES)
    ]


@torch.no_grad()
def _read(model: SequenceClassifier, task: Recall, x_T: Tensor, expected: str | None) -> Reading:
    symbols, classes = task.splits.symbols, task.splits.classes
    logits_K = model(x_T[None]).reshape(-1, len(classes))[-1]
    matrices, attention = _seen(model.layer, model.embedding(x_T[None]))
    return Reading(
        tuple(symbols[index] for index in x_T.tolist()),
        classes[int(logits_K.argmax())],
        expected,
        matrices,
        attention,
    )


def _seen(layer: nn.Module, x_1TI: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Matrices and attention by name."""
    # One copy of the sequence for each step, each one step longer than the last.
    x_TTI, lengths_T = x_1TI.expand(x_1TI.shape[1], -1, -1), torch.arange(x_1TI.shape[1]) + 1
    if isinstance(layer, FastWeightRNN):
        _, ends = layer(x_TTI, lengths_B=lengths_T)
        (weights_STT,) = layer.attention(x_1TI)
        return {"A": ends.A_LBHH[0]}, _numbered("inner step", weights_STT)
    assert isinstance(layer, DeltaFastWeights)
    _, (S_LTNDD, _) = layer(x_TTI, lengths_B=lengths_T)
    (weights_NTT,) = layer.attention(x_1TI)
    return _numbered("S of head", S_LTNDD[0].transpose(0, 1)), _numbered("head", weights_NTT)


def _numbered(name: str, tensors: Tensor) -> dict[str, Tensor]:
    return {f"{name} {number}": tensor for number, tensor in enumerate(tensors, 1)}
