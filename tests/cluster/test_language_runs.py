"""Language models by the real command: trained, resumed and continued, by one worker or two."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from command import firetree, resumed_weights, start
from ranks import run_on_ranks

from firetree import predict
from firetree.errors import UserError
from firetree.launch import RankInfo
from firetree.metrics import read_metrics
from firetree.prediction import Sampling, TextWriter, load_predictor
from firetree.training import load_recipe, with_fields
from firetree.training.step import settle, train_step
from firetree.training.worker import build_worker, load_task

pytestmark = pytest.mark.slow

LINE = "The quick,brown«fx»jmpsélazydg!0123456789\n"
"""Nearly every byte says which is next."""
SMALL = (
    *("train", "gpt", "--model.hidden", 32, "--model.layers", 1, "--model.heads", 2),
    *("--model.dropout", 0, "--data.length", 32, "--optim.batch-size", 16),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "fox.txt"
    path.write_text(LINE * 80)
    return path


@pytest.fixture(scope="module")
def run_dir(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the line by heart."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    code, out, err = firetree(
        *(*SMALL, "--data.path", text, "--run-dir", folder, "--optim.lr", 0.02),
        *("--optim.epochs", 12, "--optim.weight-decay", 0),
    )
    assert (code, err) == (0, "")
    assert "in 102 samples of 32 bytes" in out
    assert "  perplexity 1.0" in out
    assert "  bits a byte 0.0" in out
    return folder


def test_a_run_says_its_perplexity_and_bits_a_byte(run_dir: Path) -> None:
    last = read_metrics(run_dir)[-1]
    assert last.figures["perplexity"] == pytest.approx(math.exp(last.test_loss))
    assert 0 < last.figures["bits_a_byte"] < 0.5
    assert "bits a byte" in firetree("report", run_dir)[1]


def train_steps(path: str, model: str) -> dict[str, torch.Tensor]:
    """Weights after 20 steps of 13 samples."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    fields = {"model.name": model, "model.hidden": 16, "model.dropout": 0.0, "data.path": path}
    recipe = load_recipe("gpt")
    recipe = with_fields(recipe, fields | {"optim.batch_size": 13})
    rank_info = RankInfo(rank, world_size, world_size, "", 0)
    worker = build_worker(recipe, rank_info, load_task(recipe))
    settle(worker)
    batches = worker.loader.batches(0)
    for step in range(20):
        train_step(worker, batches, step, 0.002)
    return worker.model.state_dict()


@pytest.mark.parametrize("model", ["gpt", pytest.param("lm_gru", marks=pytest.mark.slow)])
def test_two_workers_end_with_the_weights_of_one(text: Path, model: str) -> None:
    [alone] = run_on_ranks(1, train_steps, str(text), model)
    for weights in run_on_ranks(2, train_steps, str(text), model):
        for name, ours in weights.items():
            assert (ours - alone[name]).abs().max() <= 1e-4 * alone[name].abs().max(), name


def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    asked = (*SMALL, "--data.path", text, "--run-dir", folder, "--checkpoint-steps", 7)
    asked = (*asked, "--model.dropout", 0.1, "--data.pieces", 280, "--optim.steps", 14)
    asked = (*asked, "--evaluate-epochs", 9)  # the best evaluation has a checkpoint, too
    resumed_weights(asked, folder, step=7, steps=14, ranks=2)


def test_a_run_writes_on_from_a_prompt_until_the_text_ends(run_dir: Path) -> None:
    code, out, err = firetree(
        "predict", run_dir, "--prompt", LINE[:7], "--tokens", 150, "--temperature", 0
    )
    assert (code, err) == (0, "")
    assert out.startswith(LINE + LINE)
    [answer] = predict(run_dir, LINE[:7], tokens=150, temperature=0.0)
    assert out == f"{LINE[:7]}{answer.output}\n"
    assert -0.5 < answer.score < 0
    code, out, _ = firetree(
        "predict", run_dir, "--prompt", LINE[:7], "--tokens", 150, "--temperature", 0, "--json"
    )
    assert json.loads(out)[0]["output"] == answer.output


def test_characters_of_several_bytes_come_whole(run_dir: Path) -> None:
    writer = load_predictor(run_dir)
    assert isinstance(writer, TextWriter)
    parts = list(writer.write("The quick,brown«fx»jmps"))
    assert "".join(parts).startswith("élazydg!")
    assert "é" in parts
    assert "\ufffd" not in "".join(parts[:-1])
    cut = "".join(writer.write("The quick,brown«fx»jmps", Sampling(1)))
    assert cut == "\ufffd", "half a character at the end"


def test_text_comes_while_it_is_written(run_dir: Path) -> None:
    job = start("predict", run_dir, "--prompt", "The", "--tokens", 10**9)
    assert job.stdout is not None
    assert len(job.stdout.read(500)) == 500
    assert job.poll() is None


def test_a_seed_decides_the_text(run_dir: Path) -> None:
    def written(seed: int) -> str:
        return predict(run_dir, "T", tokens=40, temperature=5.0, top_k=256, seed=seed)[0].output

    assert written(1) == written(1) != written(2)


def test_what_was_read_before_is_not_computed_again(run_dir: Path) -> None:
    """Longer than the network sees, symbol by symbol as from the last symbols that it is told to see."""
    writer = load_predictor(run_dir)
    assert isinstance(writer, TextWriter)
    prompt = LINE[:5]
    written = writer.answer(prompt, Sampling(100, temperature=0.0)).output.encode()
    whole, seen = prompt.encode(), len(prompt)
    for symbol in written:
        seen = seen if seen <= 32 else 16
        logits = writer.network(torch.tensor([[*whole[-seen:]]]))[0, -1]
        assert int(logits.argmax()) == symbol
        whole, seen = whole + bytes([symbol]), seen + 1


def test_the_end_of_a_long_prompt_is_read_and_that_is_said(run_dir: Path) -> None:
    code, _, err = firetree("predict", run_dir, "--prompt", LINE, "--tokens", 5)
    assert code == 0
    assert err.startswith("the prompt has 45 symbols, of which the last 32 are read")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--prompt is missing; expected the beginning of a text"),
        (["--prompt", ""], "--prompt is ''; expected the beginning of a text"),
        (["a.png"], "INPUT, but {run} is a language model; expected --prompt"),
        (["--labels"], "--labels, but {run} is a language model; expected --prompt"),
        (["--prompt", "a", "--beam", 2], "--beam, but {run} is a language model"),
        (["--prompt", "a", "--tokens", 0], "--tokens is 0; expected 1 or more"),
        (["--prompt", "a", "--temperature", -1], "--temperature is -1.0; expected 0 or more"),
        (["--prompt", "a", "--top-k", 0], "--top-k is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_continued_is_refused_in_one_line(
    run_dir: Path, options: list[object], message: str
) -> None:
    code, out, err = firetree("predict", run_dir, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"firetree: {message.format(run=run_dir)}")


def test_a_prompt_for_a_run_of_images_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert firetree("train", "digits", "--optim.steps", 1, "--run-dir", folder)[0] == 0
    code, _, err = firetree("predict", folder, "--prompt", "a")
    assert code == 2
    assert err == f"firetree: --prompt is a, but {folder} is no language model; leave it out\n"
    with pytest.raises(UserError, match="tokens is 3, but the model is not for running text"):
        predict(folder, "a.png", tokens=3)


def test_a_language_model_is_planned_like_any_network() -> None:
    code, out, _ = firetree("plan", "--model", "gpt", "--batch", 2, "--network", "4 x 1gbit")
    assert code == 0
    assert out.startswith("gpt: 3.352 MB of gradients")
