"""What became of each test image is the same for any number of ranks, and bounded whatever the number of classes."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from ranks import run_on_ranks

from firetree.confusion import MOST_PAIRS, MOST_WORST
from firetree.data import load
from firetree.data.order import batches_in_order
from firetree.data.shares import share
from firetree.data.splits import Splits
from firetree.tasks.outcomes import Outcomes

DIGITS = {"classes": None, "size": None, "channels": None, "test_fraction": 0.2, "seed": 0}


def digits(classes: int = 10) -> Splits:
    return load("digits", None, **{**DIGITS, "classes": classes})


def logits_of(splits: Splits, seed: int = 0) -> torch.Tensor:
    """Logits of a network that is right about two of three images."""
    drawn = torch.randn(len(splits.test), len(splits.classes), generator=torch.manual_seed(seed))
    labels = torch.from_numpy(splits.test.labels)
    return drawn + 2.5 * torch.nn.functional.one_hot(labels, len(splits.classes))


def outcomes(classes: int) -> str:
    """Those of all ranks as JSON, on rank 0."""
    splits = digits(classes)
    logits_NK, labels_N = logits_of(splits), torch.from_numpy(splits.test.labels)
    found = Outcomes(splits)
    for places in batches_in_order(np.arange(len(splits.test)), 50):
        mine = share(places, dist.get_rank(), (1,) * dist.get_world_size())
        found.add(mine, labels_N[mine], logits_NK[mine])
    gathered = found.gathered(step=7, epoch=1)
    return json.dumps(asdict(gathered)) if gathered else ""


def test_three_ranks_tell_what_one_tells() -> None:
    [one], [three, *others] = run_on_ranks(1, outcomes, 10), run_on_ranks(3, outcomes, 10)
    assert one == three
    assert others == ["", ""]


def test_counts_are_those_of_all_answers_and_the_worst_are_the_mistakes_of_most_loss() -> None:
    told = json.loads(run_on_ranks(2, outcomes, 10)[0])
    splits = digits()
    logits_NK, labels_N = logits_of(splits), splits.test.labels
    predicted_N = logits_NK.argmax(1).numpy()
    matrix_KK = np.zeros((10, 10), int)
    np.add.at(matrix_KK, (labels_N, predicted_N), 1)
    assert told["right"] == matrix_KK.diagonal().tolist()
    assert told["total"] == matrix_KK.sum(1).tolist()
    pairs = {(label, other): count for label, other, count in told["confused"]}
    wrong = [(a, b) for a in range(10) for b in range(10) if a != b and matrix_KK[a, b]]
    assert pairs == {pair: matrix_KK[pair] for pair in wrong}
    assert [count for *_, count in told["confused"]] == sorted(pairs.values(), reverse=True)
    losses_N = -logits_NK.log_softmax(1).numpy()[np.arange(len(labels_N)), labels_N]
    losses_N[predicted_N == labels_N] = 0
    expected = np.sort(losses_N)[::-1][:MOST_WORST]
    assert [it["loss"] for it in told["worst"]] == pytest.approx(expected, rel=1e-5)
    for it in told["worst"]:
        image = Image.open(io.BytesIO(base64.b64decode(it["jpeg"])))
        assert (image.format, image.size) == ("JPEG", (96, 96))
        assert it["label"] != it["predicted"]


def test_of_ten_thousand_classes_only_the_most_confused_are_told() -> None:
    told = json.loads(run_on_ranks(2, outcomes, 10_000)[0])
    assert len(told["right"]) == 10_000
    assert len(told["confused"]) <= MOST_PAIRS
    assert sum(count for *_, count in told["confused"]) == sum(told["total"]) - sum(told["right"])


def _places(splits: Splits) -> list[int]:
    """Two images that are not of the class that a network of NaN tells."""
    return np.flatnonzero(splits.test.labels)[:2].tolist()


def broken() -> str:
    splits = digits()
    labels_N, logits_NK = torch.from_numpy(splits.test.labels), logits_of(splits)
    for place, value in zip(_places(splits), (torch.nan, torch.inf), strict=True):
        logits_NK[place] = value
    found = Outcomes(splits)
    found.add(np.arange(len(labels_N)), labels_N, logits_NK)
    gathered = found.gathered(1, 1)
    assert gathered
    return json.dumps(asdict(gathered), allow_nan=False)


def test_answers_that_are_not_finite_are_among_the_worst() -> None:
    [told] = run_on_ranks(1, broken)
    names = {it["name"] for it in json.loads(told)["worst"][:2]}
    assert names == {digits().test.name(place) for place in _places(digits())}
