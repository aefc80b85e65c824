"""What is kept of our own networks' steps is what torch makes of them."""

from __future__ import annotations

import json

import pytest
import torch
from profiles import FILE, course

from firetree import models
from firetree.models.resolve import resolve
from firetree.models.timing import measure
from firetree.models.workload import kept_workload, load_workload


@pytest.mark.slow
def test_each_network_is_kept_as_torch_builds_it() -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    assert tuple(kept) == models.names()
    for name in models.names():
        assert kept[name] == json.loads(json.dumps(course(name))), "run reproduce/profiles.py"


@pytest.mark.parametrize("name", ["squeezenet_small", "squeezenet_v1_1"])
def test_gradients_are_kept_in_the_order_of_a_real_backward_pass(name: str) -> None:
    kept = kept_workload(name, 1, 1.0)
    assert kept is not None
    measured = measure(*resolve(name, 1, None), repeats=1)
    assert [(g.name, g.size_bytes, g.shape) for g in kept.profile.gradients] == [
        (g.name, g.size_bytes, g.shape) for g in measured.gradients
    ]


def test_layers_are_kept_as_they_are_measured() -> None:
    kept = kept_workload("squeezenet_small", 4, 1.0)
    assert kept is not None
    assert (
        kept.layers
        == load_workload("squeezenet_small", batch=4, example=torch.zeros(4, 3, 32, 32)).layers
    )
