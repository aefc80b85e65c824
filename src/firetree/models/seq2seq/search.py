"""Greedy and beam search for the most probable target of each source.

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
    """A target without its end symbol, and the mean log-probability of its symbols with the end.

    A target that was cut off has no end symbol.
    """

    symbols: tuple[int, ...]
    score: float


@torch.inference_mode()
def search(
    network: SequenceToSequence, source_BS: Tensor, *, end: int, beam: int, most: int
) -> list[Found]:
    """The best target of each source.

    Each step looks at the `beam` best continuations of the kept hypotheses. Those that end are results;
    the best of the others are kept. The best result has the highest mean log-probability of its symbols,
    so that short ones are not preferred. A source is done when it has `beam` results and no kept
    hypothesis is better. A beam of 1 is greedy; one as large as the number of all targets is exhaustive.

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
    score_B = torch.full_like(total_BW[:, 0], -torch.inf)
    results_B = torch.zeros_like(first_B)
    done_B = torch.zeros_like(first_B, dtype=torch.bool)
    for length in range(1, most + 1):
        logits_R1K, state = network.go_on(targets_BWT[:, :, -1:].flatten(0, 1), state)
        log_p = logits_R1K[:, 0].float().log_softmax(1)
        log_p[:, PADDING] = -torch.inf
        size_K = log_p.shape[1]
        candidates = (total_BW[:, :, None] + log_p.view(size_B, beam, size_K)).flatten(1)
        # Twice the beam, since half of them may end.
        total_BC, at_BC = candidates.topk(2 * beam)
        parent_BC, symbol_BC = at_BC // size_K, at_BC % size_K
        targets_BCT = torch.cat([_pick(targets_BWT, parent_BC), symbol_BC[:, :, None]], 2)

        is_end_BC = symbol_BC == end
        result_BC = (is_end_BC | (length == most)) & total_BC.isfinite() & ~done_B[:, None]
        result_BC[:, beam:] = False
        for b, c in result_BC.nonzero().tolist():
            score = float(total_BC[b, c]) / length
            if score > best[b].score:
                symbols = targets_BCT[b, c, 1:].tolist()
                best[b] = Found(tuple(symbols[:-1] if is_end_BC[b, c] else symbols), score)
                score_B[b] = score
        results_B = results_B + result_BC.sum(1)

        total_BW, kept_BW = total_BC.masked_fill(is_end_BC, -torch.inf).topk(beam)
        done_B = done_B | ((results_B >= beam) & (score_B >= total_BW[:, 0] / length))
        if bool(done_B.all()):
            break
        targets_BWT = _pick(targets_BCT, kept_BW)
        state = _rows(state, (first_B[:, None] + parent_BC.gather(1, kept_BW)).flatten())
    return best


def _rows(state: State, rows_R: Tensor) -> State:
    return tuple(tensor[rows_R] for tensor in state)


def _pick(targets_BWT: Tensor, which_BC: Tensor) -> Tensor:
    return targets_BWT.gather(1, which_BC[:, :, None].expand(-1, -1, targets_BWT.shape[2]))
