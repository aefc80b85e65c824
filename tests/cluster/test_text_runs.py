"""Words to phonemes by the real command: trained, resumed and answered, by one worker or two."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path

import pytest
import torch
from command import COMMAND, firetree
from PIL import Image
from safetensors.torch import load_file

from firetree import predict, prediction
from firetree.errors import UserError
from firetree.training import load_recipe, recipe_toml

SOUNDS = {"a": "AA1", "b": "B", "c": "K", "d": "D", "e": "EH0"}
WORDS = ["".join(letters) for n in (2, 3, 4) for letters in product(SOUNDS, repeat=n)]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of five letters, each with a sound of its own."""
    path = tmp_path_factory.mktemp("data") / "dict"
    path.write_text("".join(f"{word} {' '.join(SOUNDS[c] for c in word)}\n" for word in WORDS))
    return path


def train(
    dictionary: Path, run_dir: Path, *options: object, ranks: int = 1
) -> tuple[int, str, str]:
    return firetree(
        *("train", "phonemes", "--data.path", dictionary, "--run-dir", run_dir),
        *("--model.dropout", 0, "--model.parameters", 20_000, *options),
        ranks=ranks,
    )


@pytest.fixture(scope="module")
def run_dir(dictionary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the sounds."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    code, _, err = train(
        dictionary, folder, "--optim.lr", 0.01, "--optim.batch-size", 32, "--optim.steps", 350
    )
    assert (code, err) == (0, "")
    return folder


def newest_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    newest = max((run_dir / "checkpoints").glob("step-*"))
    return load_file(newest / "model.safetensors")


def predicted(run_dir: Path, *inputs: str) -> list[str]:
    return [one.output for one in predict(run_dir, inputs)]


def test_two_workers_end_with_the_weights_of_one(dictionary: Path, tmp_path: Path) -> None:
    metrics, weights = [], []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        code, _, err = train(
            *(dictionary, folder, "--model.name", "seq2seq_fast_weights"),
            *("--optim.batch-size", 13, "--optim.steps", 8),
            ranks=ranks,
        )
        assert (code, err) == (0, "")
        metrics.append(json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]))
        weights.append(newest_weights(folder))
    assert metrics[0]["test_loss"] == pytest.approx(metrics[1]["test_loss"], rel=1e-3)
    assert metrics[0]["accuracy"] == pytest.approx(metrics[1]["accuracy"], abs=2e-3)
    for name, alone in weights[0].items():
        assert (weights[1][name] - alone).abs().max() <= 2e-3 * alone.abs().max() + 1e-6, name


def test_phonemes_of_unseen_words_are_predicted_from_a_run_s_folder(run_dir: Path) -> None:
    assert predicted(run_dir, "bad", "edcba") == ["B AA D", "EH D K B AA"]
    code, out, _ = firetree("predict", run_dir, "EDCBA", "--beam", 3, "--json")
    assert code == 0
    [answer] = json.loads(out)
    assert (answer["input"], answer["output"]) == ("EDCBA", "EH D K B AA")
    assert -1 < answer["score"] < 0


def test_lines_come_from_standard_input_or_a_file_and_stay_in_order(
    run_dir: Path, tmp_path: Path
) -> None:
    lines, expected = "abcde\n\nab\n", "AA B K D EH\n\nAA B"
    (tmp_path / "words.txt").write_text(lines)
    assert firetree("predict", run_dir, "--file", tmp_path / "words.txt")[1] == f"{expected}\n"
    piped = subprocess.run(
        [*COMMAND, "predict", str(run_dir)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (piped.returncode, piped.stdout) == (0, f"{expected}\n")


def test_the_words_held_out_are_scored(run_dir: Path) -> None:
    scores = prediction.score(run_dir)
    assert scores.phoneme_error_percent <= scores.word_error_percent < 10
    text = firetree("predict", run_dir, "--labels", "--beam", 2)[1]
    assert f" of {scores.texts} words; " in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["1234"], "nothing in '1234' was in the training texts"),
        (["a", "--beam", 0], "--beam is 0; expected 1 or more"),
        (["a", "--backend", "torch"], "--backend is torch, but the model is not for images"),
        (["a", "--file", "a.txt"], "texts and --file; expected one of them"),
        (["--file", "nowhere.txt"], "file nowhere.txt cannot be read: "),
        (["a", "--labels"], "--labels and texts; expected one of them"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    run_dir: Path, options: list[object], message: str
) -> None:
    code, _, err = firetree("predict", run_dir, *options)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"firetree: {message}")


def test_a_folder_that_is_no_run_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run's folder"):
        predicted(tmp_path, "a.png")
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(UserError, match=r"recipe\.toml lacks 'model'; put it back"):
        predicted(tmp_path, "a.png")
    (tmp_path / "recipe.toml").write_text(recipe_toml(load_recipe("digits")))
    with pytest.raises(UserError, match="has no whole checkpoint; expected a run that has one"):
        predicted(tmp_path, "a.png")


def test_what_cannot_be_trained_is_said_in_one_line(dictionary: Path, tmp_path: Path) -> None:
    code, _, err = train(dictionary, tmp_path / "run", "--model.rate", 0.5)
    assert code == 2
    assert err.startswith(
        "firetree: model.rate = 0.5; 'seq2seq_attention' does not have this field"
    )
    assert err.count("\n") == 1


@pytest.mark.slow
def test_lines_are_translated_and_scored(tmp_path: Path) -> None:
    pairs = {
        "the dog": "der Hund",
        "the cat": "die Katze",
        "the dog and the cat": "der Hund und die Katze",
    }
    for part in ("train", "val", "test"):
        lines = list(pairs) * (20 if part == "train" else 1)
        (tmp_path / f"{part}.en").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / f"{part}.de").write_text("".join(f"{pairs[line]}\n" for line in lines))
    run_dir = tmp_path / "run"
    code, _, err = firetree(
        *("train", "translation", "--data.path", tmp_path, "--run-dir", run_dir),
        *("--model.parameters", 30_000, "--model.dropout", 0, "--optim.batch-size", 15),
        *("--optim.steps", 60, "--optim.warmup-epochs", 1),
    )
    assert (code, err) == (0, "")
    assert predicted(run_dir, *pairs) == list(pairs.values())
    text = firetree("predict", run_dir, "--labels", "--beam", 3)[1]
    assert text.startswith("BLEU 100.00 of 3 lines; ")


def test_images_are_classified_from_a_run_s_folder(tmp_path: Path) -> None:
    for number, colour in enumerate(["red", "blue"] * 8):
        folder = tmp_path / "images" / colour
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
    code, _, err = firetree(
        *("train", "digits", "--data.name", "folder", "--data.path", tmp_path / "images"),
        *("--run-dir", tmp_path / "run", "--optim.batch-size", 8, "--optim.epochs", 10),
    )
    assert (code, err) == (0, "")
    answers = predict(tmp_path / "run", tmp_path / "images")
    assert len(answers) == 16
    for answer in answers:
        assert answer.top5[0].name == Path(answer.image).parent.name
    with pytest.raises(UserError, match=r"beam is 2, but the model is not for texts; leave it out"):
        predict(tmp_path / "run", "a.png", beam=2)
    code, _, err = firetree("predict", tmp_path / "run", "a.png", "--file", "a.txt")
    assert (code, err.startswith("firetree: --file a.txt, but ")) == (2, True)
