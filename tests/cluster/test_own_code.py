"""Networks, data and losses of the user's own: what training guarantees for ours holds for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import firetree, kill_whole_job, last_weights, start
from safetensors.torch import load

from firetree.errors import RunFailedError, UserError
from firetree.metrics import read_metrics
from firetree.runs import Run
from firetree.runs.starting import train

EXAMPLES = Path(__file__).parents[2] / "examples" / "own"
SLOW = pytest.mark.slow
NAMES = ("prices", pytest.param("resnet", marks=SLOW), pytest.param("gpt", marks=SLOW))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples and small data for them, which is the current one."""
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    luck = np.random.default_rng(0)
    arrays = {"train_x": luck.integers(0, 256, (320, 32, 32, 3), np.uint8)}
    arrays |= {"train_y": luck.integers(0, 10, 320), "test_x": arrays["train_x"][:32]}
    np.savez(tmp_path / "cifar10.npz", **arrays, test_y=arrays["train_y"][:32])
    (tmp_path / "README.md").write_text("All work and no play makes Jack a dull boy.\n" * 800)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(name: str, run_dir: Path, steps: int) -> tuple[object, ...]:
    data = ("--data.path", "cifar10.npz") if name == "resnet" else ()
    rate = ("--optim.rule", "constant", "--optim.lr", 5e-4)
    small = ("--optim.batch-size", 16, "--optim.steps", steps, *rate)
    return ("train", f"{name}.toml", *data, *small, "--run-dir", run_dir)


def trained(name: str, run_dir: Path, steps: int, *more: object, ranks: int = 1) -> bytes:
    code, _, err = firetree(*options(name, run_dir, steps), *more, ranks=ranks)
    assert (code, err) == (0, "")
    return last_weights(run_dir)


@pytest.mark.parametrize("name", NAMES)
def test_three_workers_are_one_and_a_resumed_run_is_one_that_never_stopped(
    own: Path, name: str
) -> None:
    one = trained(name, own / "one", 20)
    three = load(trained(name, own / "three", 20, ranks=3))
    for tensor_name, tensor in load(one).items():
        torch.testing.assert_close(three[tensor_name], tensor, rtol=1e-4, atol=1e-4)
    trained(name, own / "parts", 7)
    assert trained(name, own / "parts", 20, "--resume") == one


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_goes_on_to_the_same_bits(own: Path, name: str) -> None:
    def killed_at(line: str) -> None:
        job = start(*options(name, own / "run", 30), "--checkpoint-steps", 5, "--workers", 2)
        while not (own / "run" / "checkpoints" / line).exists() and job.poll() is None:
            pass
        kill_whole_job(job.pid)

    killed_at("step-00000010")
    whole = trained(name, own / "whole", 30, "--workers", 2, "--checkpoint-steps", 5)
    assert trained(name, own / "run", 30, "--workers", 2, "--resume") == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet", *(pytest.param(it, marks=SLOW) for it in ("gpt", "prices"))]
)
def test_plan_and_report_know_it_as_they_know_ours(own: Path, name: str) -> None:
    trained(name, own / "run", 6, "--workers", 2, "--plan", "auto")
    code, out, _ = firetree("report", own / "run", "--json")
    assert code == 0
    assert json.loads(out)["evaluation"]["test_loss"] < 10
    if name == "resnet":  # a function without arguments, as `plan` wants it
        assert firetree("plan", "--model", "resnet:build", "--size", 32)[0] == 0


def test_a_metric_of_ones_own_stands_beside_the_loss(own: Path) -> None:
    trained("prices", own / "one", 20)
    trained("prices", own / "two", 20, ranks=2)
    one, two = (read_metrics(own / name)[-1] for name in ("one", "two"))
    assert one.accuracy is None
    assert one.figures["error"] == pytest.approx(two.figures["error"], rel=1e-4)
    assert f"error {one.figures['error']:.4g}" in firetree("report", own / "one")[1]


@pytest.mark.slow
def test_a_metric_of_torchmetrics_is_one_over_all_ranks(own: Path) -> None:
    pytest.importorskip("torchmetrics")
    metric = ("--metric.name", "MulticlassF1Score", "--metric.arguments", "{num_classes = 10}")
    trained("resnet", own / "one", 4, *metric)
    trained("resnet", own / "two", 4, *metric, ranks=2)
    one, two = (read_metrics(own / name)[-1].figures for name in ("one", "two"))
    assert one == pytest.approx(two, abs=0.04)
    assert one


OWN = """
import random
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

class Noisy:
    \"\"\"Adds noise by each of the three generators.\"\"\"
    def __len__(self):
        return 64
    def __getitem__(self, index):
        if index == broken:
            raise OSError("no such picture")
        return torch.rand(3) + random.random() + index, torch.tensor(index % 2)

broken = -1

def damaged():
    global broken
    broken = 63
    return Noisy()

class Stream(IterableDataset):
    def __len__(self):
        return 50
    def __iter__(self):
        for index in range(50):
            yield torch.rand(3) + index, torch.tensor(index % 2)

def streams():
    return Stream(), Noisy()

class Short(Stream):
    def __len__(self):
        return 60

def short():
    return Short(), Noisy()

def words():
    return ["one", "two", "three"]

def net(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

class Viewing(nn.Module):
    \"\"\"Uses view, which takes channels in one order only; and has a layer that it does not use.\"\"\"
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 10)
        self.spare = nn.Linear(2, 2)
    def forward(self, x):
        return self.head(self.conv(x).view(len(x), -1))

def wrong():
    return nn.Linear(5, 2)

def one():
    return nn.Linear(3, 1)

class raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 2), 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 8:
            raise ValueError("odd")
        return self.layer(x)

def few():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def nothing():
    return 7
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "base.toml").write_text("[optim]\nrule = 'constant'\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(run_dir: Path, *more: object, steps: int = 12, ranks: int = 1) -> tuple[int, str, str]:
    small = ("--optim.batch-size", 10, "--optim.steps", steps)
    return firetree("train", "base.toml", *small, *more, "--run-dir", run_dir, ranks=ranks)


def named(data: str, net: str = "mine:net") -> tuple[object, ...]:
    return ("--model.name", net, "--data.name", data)


@pytest.mark.parametrize("data", ["mine:Noisy", pytest.param("mine:streams", marks=SLOW)])
def test_random_samples_are_the_same_for_any_number_of_workers_and_after_a_resume(
    mine: Path, data: str
) -> None:
    rate = ("--optim.lr", 0.001)
    assert run(mine / "one", *named(data), *rate)[0] == 0
    assert run(mine / "two", *named(data), *rate, ranks=3)[0] == 0
    one, two = (load(last_weights(mine / name)) for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-4)
    assert run(mine / "parts", *named(data), *rate, steps=8)[0] == 0
    assert run(mine / "parts", *named(data), *rate, "--resume")[0] == 0
    assert last_weights(mine / "parts") == last_weights(mine / "one")


@pytest.mark.slow
def test_readers_ahead_change_nothing(mine: Path) -> None:
    for readers in (0, 2):
        code, _, err = run(mine / f"{readers}", *named("mine:Noisy"), "--data.readers", readers)
        assert (code, err) == (0, "")
    assert last_weights(mine / "0") == last_weights(mine / "2")


def test_a_network_that_views_and_leaves_a_layer_out_trains(mine: Path) -> None:
    options = ("--model.name", "mine:Viewing", "--optim.batch-size", 32)
    code, out, err = run(mine / "run", *options, ranks=2)
    assert (code, err) == (0, "")
    assert (
        "parameters without a gradient are looked for in each step: spare.weight and 1 more" in out
    )


@pytest.mark.slow
def test_a_few_more_workers_than_samples_of_the_last_step_still_agree(mine: Path) -> None:
    # 51 samples to train on: the last step of an epoch has one.
    assert run(mine / "one", *named("mine:Noisy"), "--optim.lr", 0.001)[0] == 0
    assert run(mine / "many", *named("mine:Noisy"), "--optim.lr", 0.001, ranks=4)[0] == 0
    one, many = (load(last_weights(mine / name)) for name in ("one", "many"))
    for name, tensor in one.items():
        torch.testing.assert_close(many[name], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "exit_code", "line"),
    [
        (named("mine:damaged"), 1, "of 64 samples cannot be decoded, which is more than 1 % ("),
        (named("mine:short"), 1, "mine:short tells 60 samples and ended after 50"),
        (named("mine:words"), 2, "a sample of mine:words is a value of type list; expected"),
        (
            named("mine:nothing"),
            2,
            "mine:nothing gave a value of type int; expected a torch Dataset",
        ),
        (named("mine:Stream"), 2, "one dataset of which no share can be held out; expected a pair"),
        (named("mine:Noisy", "mine:nothing"), 2, "expected a torch.nn.Module"),
        (
            named("mine:Noisy", "mine:wrong"),
            2,
            "mine:wrong fails on a batch of shape (2, 3): ",
        ),
        (
            ("--model.name", "mine:net", "--data.name", "digits"),
            2,
            "mine:net fails on a batch of shape",
        ),
        (
            ("--model.name", "mine:few", "--data.name", "digits"),
            2,
            "expected (10, 10), a score for",
        ),
        (
            named("mine:Noisy", "mine:raises"),
            1,
            "mine:raises failed: ValueError: odd (mine.py, line ",
        ),
        (
            named("mine:Noisy", "mine:one"),
            2,
            "the network gives 1 scores, and y has class 1; expected",
        ),
        (named("mine:Noisy", "mine:nett"), 2, "has no function 'nett'; did you mean 'net'?"),
        (
            named("mine:Noisy", "squeezenet_small"),
            2,
            "takes images; expected (channels, size, size)",
        ),
        (
            (*named("mine:Noisy"), "--loss.name", "mse"),
            2,
            "loss.name = mse: the network gives (10, 2)",
        ),
        (
            (*named("mine:Noisy"), "--loss.name", "msee"),
            2,
            "'msee' is unknown; did you mean 'mse'?",
        ),
        (("--loss.name", "l1", "--optim.label-smoothing", 0.1), 2, "expected one of them"),
        (("--model.name", "mine:net", "--model.arguments", "{width = oops}"), 2, "model.arguments"),
        (("--model.name", "mine:net", "--model.arguments", "{depth = 3}"), 2, "'depth'"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(
    mine: Path, more: tuple[object, ...], exit_code: int, line: str
) -> None:
    code, _, err = run(mine / "run", *more)
    assert (code, line in err) == (exit_code, True), err
    assert err.count("\n") <= 2


def test_a_recipe_runs_code_beside_it_and_no_other(mine: Path) -> None:
    (mine / "far").mkdir()
    for where in (mine, mine / "far"):
        (where / "mine.toml").write_text('model.name = "mine:net"\ndata.name = "mine:Noisy"\n')
    steps = ("--optim.steps", 1)
    assert firetree("train", "mine.toml", *steps, "--run-dir", "beside")[0] == 0
    code, _, err = firetree("train", "far/mine.toml", *steps, "--run-dir", "far/run")
    assert code == 2
    assert (
        "--trust is not given, and far/mine.toml has model.name = 'mine:net', code that is" in err
    )
    assert firetree("train", "far/mine.toml", *steps, "--trust", "--run-dir", "trusted")[0] == 0
    with pytest.raises(UserError, match=r"trust is not given, and trusted/recipe\.toml has model"):
        Run("trusted").resume()


def test_a_failed_run_of_own_code_says_what_resumes_it(mine: Path) -> None:
    (mine / "mine.toml").write_text('model.name = "mine:net"\ndata.name = "mine:Noisy"\n')
    fields = {"optim.lr": 1e30, "optim.steps": 9}
    with pytest.raises(RunFailedError) as failure:
        train("mine.toml", run_dir="named", fields=fields)
    assert failure.value.__notes__ == ["to resume: firetree.Run('named').resume(trust=True)"]
    with pytest.raises(RunFailedError) as failure:
        train("mine.toml", run_dir="live", fields=fields, loss=lambda out, y: out.sum() * torch.nan)
    assert failure.value.__notes__ == ["to resume: the same call with run_dir='live', resume=True"]


def test_code_that_changes_is_told_on_resume(mine: Path) -> None:
    assert run(mine / "run", *named("mine:Noisy"), steps=2)[0] == 0
    kept = json.loads((mine / "run" / "code.json").read_text())
    assert set(kept) == {"mine:net", "mine:Noisy"}
    (mine / "mine.py").write_text(OWN + "\nmore = 1\n")
    _, out, _ = run(mine / "run", *named("mine:Noisy"), "--resume", steps=3)
    assert "changed since the run began: the source of mine:net, mine:Noisy" in out


def test_code_beside_a_recipe_goes_before_that_of_the_current_folder(mine: Path) -> None:
    (mine / "far").mkdir()
    (mine / "far" / "mine.py").write_text(OWN.replace("width=4", "width=5"))
    (mine / "far" / "mine.toml").write_text('model.name = "mine:net"\ndata.name = "mine:Noisy"\n')
    for workers in (1, 2):
        options = ("--optim.steps", 1, "--workers", workers, "--run-dir", f"run-{workers}")
        assert firetree("train", "far/mine.toml", *options)[0] == 0
        assert len(load(last_weights(mine / f"run-{workers}"))["0.bias"]) == 5


def test_a_file_with_the_name_of_a_library_is_refused(mine: Path) -> None:
    (mine / "random.py").write_text(OWN)
    code, _, err = run(mine / "run", *named("mine:Noisy", "random:net"))
    assert code == 2
    assert f"not {mine / 'random.py'}; rename the file" in err


def test_a_run_that_failed_before_its_first_checkpoint_may_go_on_otherwise(mine: Path) -> None:
    assert run(mine / "run", *named("mine:Noisy"), "--loss.name", "mse")[0] == 2
    assert run(mine / "run", *named("mine:Noisy"), "--resume")[0] == 0


def test_a_run_is_not_resumed_on_other_samples(mine: Path) -> None:
    assert run(mine / "run", *named("mine:Noisy"), steps=2)[0] == 0
    (mine / "mine.py").write_text(OWN.replace("return 64", "return 65"))
    code, _, err = run(mine / "run", *named("mine:Noisy"), "--resume", steps=3)
    assert code == 2
    assert "cannot resume: the run's data had training samples 51, these 52" in err
