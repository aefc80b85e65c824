"""Train the shared values of a compressed model to answer as the uncompressed one does.

Codes stay, so zeros stay and the file keeps its size. A value's gradient is the sum over all weights that
share it (Han et al. 2016, figure 3). The teacher is the uncompressed model (Hinton et al. 2015).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from firetree.deep_compression.calibrate import check_answers
from firetree.modelfiles import Model
from firetree.modelfiles.fire.shared import Compressed, Shared, halved
from firetree.progress import Progress

BATCH = 16
RATE = 2e-4
_SOFTNESS = 2.0
"""Temperature of both answers."""


def retrain_values(
    compressed: Compressed,
    teacher: Model,
    x_BCHW: Tensor,
    steps: int,
    progress: Progress,
) -> Compressed:
    """Train codebooks and unshared tensors on batches drawn from these inputs, by Adam.

    The learning rate falls linearly to 0. Every other batch is mirrored.

    Raises:
        UserError: a teacher whose answer is not finite.
    """
    network, answer = compressed.expand().build(), teacher.build()
    trained = {
        name: torch.nn.Parameter(
            torch.from_numpy(t.codebook.copy()) if isinstance(t, Shared) else t.clone()
        )
        for name, t in compressed.tensors.items()
    }
    codes = {
        name: torch.from_numpy(t.codes.astype(np.int64))
        for name, t in compressed.tensors.items()
        if isinstance(t, Shared)
    }
    optimizer = torch.optim.Adam(trained.values(), lr=RATE)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=max(steps, 1))
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        batch = x_BCHW[torch.randint(len(x_BCHW), (BATCH,), generator=generator)]
        batch = batch.flip(3) if step % 2 else batch
        with torch.no_grad():
            logits_BK = answer(batch)
            check_answers(teacher, logits_BK)
            wanted = (logits_BK / _SOFTNESS).log_softmax(1)
        given = functional_call(network, _dense(compressed, trained, codes), (batch,))
        loss = F.kl_div(
            (given / _SOFTNESS).log_softmax(1), wanted, reduction="batchmean", log_target=True
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        fall.step()
        if step % 50 == 0:
            progress(f"step {step} of {steps}: {loss.item():.4f} nats from the uncompressed answer")
    return Compressed(compressed.model, _kept(compressed, trained))


def _dense(
    compressed: Compressed, trained: Mapping[str, Tensor], codes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    def weight(name: str) -> Tensor:
        tensor = compressed.tensors[name]
        if not isinstance(tensor, Shared):
            return trained[name]
        values = torch.cat([torch.zeros(1), trained[name]])
        return values.index_select(0, codes[name]).view(tensor.shape)

    return {name: weight(name) for name in compressed.tensors}


def _kept(compressed: Compressed, trained: Mapping[str, Tensor]) -> dict[str, Shared | Tensor]:
    """The trained numbers, in 16 bits where these suffice; codes follow their values' new order."""
    kept: dict[str, Shared | Tensor] = {}
    for name, tensor in compressed.tensors.items():
        values = halved(trained[name].detach())
        if isinstance(tensor, Shared):
            order = np.argsort(values.numpy(), kind="stable")
            code = np.zeros(len(order) + 1, np.uint8)
            code[order + 1] = np.arange(1, len(order) + 1)
            kept[name] = Shared(tensor.shape, code[tensor.codes], values.numpy()[order])
        else:
            kept[name] = values
    return kept
