"""`firetree sweep` as a user runs it: real trainings, each net counted once."""

from __future__ import annotations

import json
from pathlib import Path

from command import firetree

from firetree import models


def test_a_sweep_says_what_a_net_costs_and_how_well_each_training_did(tmp_path: Path) -> None:
    asked = ("sweep", "digits", "--vary", "optim.lr=0.02,0.05", "--vary", "optim.steps=4")
    asked += ("--network", "2 x 1gbit", "--runs", tmp_path / "runs", "--json")
    code, out, err = firetree(*asked)
    assert code == 0, err
    rows = json.loads(out)
    assert {row["values"]["optim.lr"] for row in rows} == {"0.02", "0.05"}
    net = models.build("squeezenet_small", classes=10, channels=1, size=8)
    parameters = sum(weights.numel() for weights in net.parameters())
    assert [row["parameters"] for row in rows] == [parameters] * 2
    assert all(0 < row["accuracy"] < 1 and row["step_s"] > 0 for row in rows)
    assert err.count("counting the costs of") == 1

    assert json.loads(firetree(*asked)[1])[0]["accuracies"] == rows[0]["accuracies"]
