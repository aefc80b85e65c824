"""The test set, which all ranks share: what the network's outputs for it are worth."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.data import Batch
from firetree.metrics import Evaluation
from firetree.models.inputs import call, mapped
from firetree.peers import waiting
from firetree.tasks import Outcomes
from firetree.tasks.losses import logits_of
from firetree.training.worker import Worker


@torch.no_grad()
def evaluate(worker: Worker, outcomes: Outcomes | None = None) -> Evaluation:
    """Every rank tries its share of the test set; all get the result over all of it.

    `outcomes` is told what becomes of this rank's samples.
    """
    totals = torch.zeros(4, dtype=torch.float64)
    model = worker.evaluated
    model.eval()
    for held_out in worker.loader.test_batches():
        if not held_out.count:
            continue
        batch = held_out.to(worker.device)
        with worker.arithmetic.autocast(worker.device):
            outputs = mapped(_in_float32, call(model, batch.x))
        loss, right = worker.loss(outputs, batch.y), worker.task.right(outputs, batch.y)
        judged = 0 if right is None else batch.count
        right_count = 0.0 if right is None else right.item()
        totals += torch.tensor([loss.item(), batch.count, right_count, judged], dtype=totals.dtype)
        if worker.measure:
            worker.measure.add(outputs, batch.y)
        if outcomes and isinstance(batch, Batch) and batch.places is not None:
            outcomes.add(batch.places, batch.y, logits_of(outputs))
    model.train()
    with waiting():
        dist.all_reduce(totals)
    loss_sum, count, right_sum, judged_count = totals.tolist()
    mean = loss_sum / count
    return Evaluation(
        test_loss=mean,
        accuracy=right_sum / judged_count if judged_count else None,
        figures=worker.task.figures(mean) | (worker.measure.take() if worker.measure else {}),
    )


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
