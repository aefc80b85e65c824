"""Greedy and beam search: the most probable target for each source, as far as a network can tell.

Letters in names: B sources, W hypotheses kept for each (the beam), C candidates, T symbols,
K symbols to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from firetree.models.seq2seq.network import PADDING, SequenceToSequence, State


@dataclass(frozen=True, slots=True)
class Found:
    """A target without its end, and the mean log-probability of its symbols, the end included.

    One that was cut off after the most symbols has no end.
    """

    symbols: tuple[int, ...]
    score: float


@torch.inference_mode()
def search(
    network: SequenceToSequence, source_BS: Tensor, *, end: int, beam: int, most: int
) -> list[Found]:
    """The best target of each source.

    At each step the `beam` best continuations of what is kept are looked at. Those that end are
    results; the best that do not end are kept. A source is done once it has `beam` results. The best
    is the one with the highest mean log-probability of its symbols, so that short ones are not
    preferred. A beam of 1 is greedy; one as large as the number of all targets is exhaustive.

    Args:
        network: in evaluation mode.
        end: the symbol that ends targets and stands before their first one.
        beam: W, 1 or more.
        most: symbols after which a target is cut off, 1 or more.
    """
    size_B = len(source_BS)
    first_B = torch.arange(size_B, device=source_BS.device) * beam
    state = _rows(network.begin(source_BS), first_B.repeat_interleave(beam) // beam)
    total_BW = torch.full((size_B, beam), -torch.inf, device=source_BS.device)
    total_BW[:, 0] = 0
    targets_BWT = torch.full((size_B, beam, 1), end, device=source_BS.device)
    best = [Found((), -torch.inf)] * size_B
    results_B = torch.zeros_like(first_B)
    for length in range(1, most + 1):
        logits_R1K, state = network.go_on(targets_BWT[:, :, -1:].flatten(0, 1), state)
        log_p = logits_R1K[:, 0].float().log_softmax(1)
        log_p[:, PADDING] = -torch.inf
        size_K = log_p.shape[1]
        candidates = (total_BW[:, :, None] + log_p.view(size_B, beam, size_K)).flatten(1)
        # As many again as may end.
        total_BC, at_BC = candidates.topk(2 * beam)
        parent_BC, symbol_BC = at_BC // size_K, at_BC % size_K
        targets_BCT = torch.cat([_pick(targets_BWT, parent_BC), symbol_BC[:, :, None]], 2)

        last = length == most
        is_end_BC = symbol_BC == end
        result_BC = (is_end_BC | last) & total_BC.isfinite() & (results_B < beam)[:, None]
        result_BC[:, beam:] = False
        for b, c in result_BC.nonzero().tolist():
            score = float(total_BC[b, c]) / length
            if score > best[b].score:
                symbols = targets_BCT[b, c, 1:].tolist()
                best[b] = Found(tuple(symbols[:-1] if is_end_BC[b, c] else symbols), score)
        results_B = results_B + result_BC.sum(1)
        if last or bool((results_B >= beam).all()):
            break

        total_BC = total_BC.masked_fill(is_end_BC, -torch.inf)
        total_BW, kept_BW = total_BC.topk(beam)
        targets_BWT = _pick(targets_BCT, kept_BW)
        state = _rows(state, (first_B[:, None] + parent_BC.gather(1, kept_BW)).flatten())
    return best


def _rows(state: State, rows_R: Tensor) -> State:
    return tuple(tensor[rows_R] for tensor in state)


def _pick(targets_BWT: Tensor, which_BC: Tensor) -> Tensor:
    return targets_BWT.gather(1, which_BC[:, :, None].expand(-1, -1, targets_BWT.shape[2]))
