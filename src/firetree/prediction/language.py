"""To write on from a prompt with a run's language model, symbol by symbol."""

from __future__ import annotations

import codecs
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from firetree.data.text_symbols import BORDER, TextSymbols
from firetree.errors import ArgumentError
from firetree.models.language import LanguageNetwork, LanguageState
from firetree.prediction.texts import TextPrediction
from firetree.progress import Progress, log
from firetree.tasks.running_text import build_network
from firetree.training import Recipe, Trained


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next symbols are drawn.

    Raises:
        UserError: a value out of its range.
    """

    tokens: int = 200
    """The most symbols to write; the text may end before."""
    temperature: float = 0.8
    """Logits are divided by it: below 1 for what is likely, above 1 for more variety; 0 for the likeliest."""
    top_k: int = 40
    """Each symbol is one of so many likeliest ones."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("top_k", self.top_k)):
            if value < 1:
                raise ArgumentError(name, f"is {value}; expected 1 or more")
        if not 0 <= self.temperature < math.inf:
            raise ArgumentError("temperature", f"is {self.temperature}; expected 0 or more")
        if not 0 <= self.seed < 2**63:
            raise ArgumentError("seed", f"is {self.seed}; expected 0 to {2**63 - 1}")


class _Drawn(NamedTuple):
    """A symbol, and the logarithm of the probability that the network gives it."""

    number: int
    log_probability: float


@dataclass(frozen=True, slots=True, repr=False)
class TextWriter:
    """A language model in evaluation mode, its symbols, and its run's recipe."""

    network: LanguageNetwork
    symbols: TextSymbols
    recipe: Recipe

    @staticmethod
    def of(trained: Trained) -> TextWriter:
        """The model of a run on running text."""
        symbols, network = build_network(trained.data, asdict(trained.recipe.model))
        network.load_state_dict(dict(trained.weights))
        return TextWriter(network.eval(), symbols, trained.recipe)

    def __repr__(self) -> str:
        return f"TextWriter({self.recipe.model.name}, {len(self.symbols)} symbols)"

    def write(
        self, prompt: str, sampling: Sampling | None = None, progress: Progress = log
    ) -> Iterator[str]:
        """What follows the prompt, as it is drawn; each part has whole characters.

        Args:
            prompt: the beginning of a text.
            progress: is told where only the end of the prompt is read.

        Raises:
            UserError: the prompt is empty, or no text.
        """
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        for drawn in self._drawn(prompt, sampling, progress):
            if part := characters.decode(self.symbols.decode([drawn.number])):
                yield part
        if rest := characters.decode(b"", final=True):
            yield rest

    def answer(
        self, prompt: str, sampling: Sampling | None = None, progress: Progress = log
    ) -> TextPrediction:
        """What follows the prompt, as a whole (UserError as `write`)."""
        drawn = list(self._drawn(prompt, sampling, progress))
        text = self.symbols.decode(one.number for one in drawn).decode(errors="replace")
        total = sum(one.log_probability for one in drawn)
        return TextPrediction(prompt, text, total / max(1, len(drawn)))

    def _drawn(
        self, prompt: str, sampling: Sampling | None, progress: Progress
    ) -> Iterator[_Drawn]:
        """Symbols until the text ends.

        Where a network sees a limited number of symbols and has seen them all, it reads the last half of
        them again, so that a symbol costs no more than two.
        """
        sampling = sampling or Sampling()
        text, state = self._encoded(prompt), None
        limit = self.network.length or sys.maxsize
        if len(text) > limit:
            progress(f"the prompt has {len(text):,} symbols, of which the last {limit:,} are read")
        unread = text[-limit:]
        generator = torch.Generator().manual_seed(sampling.seed)
        for _ in range(sampling.tokens):
            if state is not None and state.read + len(unread) > limit:
                state, unread = None, text[-max(1, limit // 2) :]
            logits_K, state = _next(self.network, unread, state)
            number = _draw(logits_K, sampling, generator)
            if number == BORDER:
                return
            yield _Drawn(number, float(logits_K.log_softmax(0)[number]))
            text.append(number)
            unread = [number]

    def _encoded(self, prompt: str) -> list[int]:
        content = prompt.encode(errors="ignore")
        if not content or BORDER in content or content.decode() != prompt:
            raise ArgumentError("prompt", f"is {prompt!r}; expected the beginning of a text")
        numbers: list[int] = self.symbols.encode(content).tolist()
        return numbers


@torch.inference_mode()
def _next(
    network: LanguageNetwork, unread: list[int], state: LanguageState | None
) -> tuple[Tensor, LanguageState]:
    """Logits of the symbol after those, and the state after them."""
    logits_1TK, state = network.go_on(torch.tensor([unread]), state)
    return logits_1TK[0, -1].float(), state


def _draw(logits_K: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    likeliest = logits_K.topk(min(sampling.top_k, len(logits_K)))
    if sampling.temperature == 0:
        return int(likeliest.indices[0])
    below = likeliest.values - likeliest.values[0]
    drawn = torch.multinomial((below / sampling.temperature).softmax(0), 1, generator=generator)
    return int(likeliest.indices[drawn])
