"""Networks, data and losses as objects of a script train as named ones do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import firetree, last_weights
from safetensors.torch import load

LIVE = """
import sys
import torch
from torch import nn
import firetree

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
    def forward(self, x):
        return self.layer(x)

torch.manual_seed(0)
x = torch.rand(80, 3)
objects = dict(
    model=Net(),
    data=torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)),
    loss=lambda outputs, y: ((outputs - y) ** 2).mean(),
)
folder, steps, workers, resume = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "resume" in sys.argv
run = firetree.train(
    firetree.Recipe(), **objects, workers=workers, run_dir=folder, resume=resume,
    fields={"optim.steps": steps, "optim.batch_size": 8, "optim.rule": "constant"},
)
objects["model"].load_state_dict(run.weights())
"""


@pytest.mark.slow
def test_live_objects_of_a_script_train_as_named_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(LIVE)
    for given in ("one 6 1", "two 6 2", "parts 3 1", "parts 6 1 resume"):
        command = [sys.executable, "script.py", *given.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert (done.returncode, done.stderr) == (0, "")
    one, two = (load(last_weights(tmp_path / name)) for name in ("one", "two"))
    torch.testing.assert_close(two["layer.weight"], one["layer.weight"], rtol=1e-4, atol=1e-4)
    assert last_weights(tmp_path / "parts") == last_weights(tmp_path / "one")
    resume = ("--resume", "--optim.steps", 8, "--run-dir", tmp_path / "one")
    code, _, err = firetree("train", tmp_path / "one" / "recipe.toml", *resume, "--trust")
    assert code == 2
    assert "the run began with live objects of a Python session; go on by firetree.train" in err
