"""Words to phonemes by the real command: trained, resumed and answered, by one worker or two."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path

import pytest
import torch
from command import COMMAND, firetree
from safetensors.torch import load_file

SOUNDS = {"a": "AA1", "b": "B", "c": "K", "d": "D", "e": "EH0"}
WORDS = ["".join(letters) for n in (2, 3, 4) for letters in product(SOUNDS, repeat=n)]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of five letters, each with a sound of its own."""
    path = tmp_path_factory.mktemp("data") / "dict"
    path.write_text("".join(f"{word} {' '.join(SOUNDS[c] for c in word)}\n" for word in WORDS))
    return path


def train(dictionary: Path, run_dir: Path, *options: object) -> tuple[int, str, str]:
    return firetree(
        *("train", "phonemes", "--data.path", dictionary, "--run-dir", run_dir),
        *("--model.dropout", 0, "--model.parameters", 20_000, *options),
    )


@pytest.fixture(scope="module")
def run_dir(dictionary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the sounds."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    code, _, err = train(
        dictionary, folder, "--optim.lr", 0.01, "--optim.batch-size", 32, "--optim.steps", 250
    )
    assert (code, err) == (0, "")
    return folder


def newest_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    newest = max((run_dir / "checkpoints").glob("step-*"))
    return load_file(newest / "model.safetensors")


@pytest.mark.parametrize("model", ["seq2seq_fast_weights", "seq2seq_transformer"])
def test_two_workers_end_with_the_weights_of_one(
    dictionary: Path, tmp_path: Path, model: str
) -> None:
    common = ("--model.name", model, "--optim.batch-size", 13, "--optim.steps", 8)
    metrics, weights = [], []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        code, _, err = train(dictionary, folder, *common, "--workers", workers)
        assert (code, err) == (0, "")
        metrics.append(json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]))
        weights.append(newest_weights(folder))
    assert metrics[0]["test_loss"] == pytest.approx(metrics[1]["test_loss"], rel=1e-3)
    assert metrics[0]["accuracy"] == pytest.approx(metrics[1]["accuracy"], abs=2e-3)
    for name, alone in weights[0].items():
        assert (weights[1][name] - alone).abs().max() <= 2e-3 * alone.abs().max() + 1e-6, name


def test_a_word_s_phonemes_are_predicted_from_a_run_s_folder(run_dir: Path) -> None:
    unseen = "edcba"
    expected = "EH D K B AA"
    assert firetree("predict", run_dir, "bad", unseen) == (0, f"B AA D\n{expected}\n", "")
    code, out, _ = firetree("predict", run_dir, unseen.upper(), "--beam", 3, "--json")
    [answer] = json.loads(out)
    assert code == 0
    assert answer["input"] == "EDCBA"
    assert answer["output"] == expected
    assert -1 < answer["score"] < 0


def test_lines_come_from_a_file_or_standard_input_and_stay_in_order(
    run_dir: Path, tmp_path: Path
) -> None:
    lines, expected = "abcde\n\nab\n", "AA B K D EH\n\nAA B\n"
    (tmp_path / "words.txt").write_text(lines)
    assert firetree("predict", run_dir, "--file", tmp_path / "words.txt") == (0, expected, "")
    piped = subprocess.run(
        [*COMMAND, "predict", str(run_dir)], input=lines, capture_output=True, text=True, timeout=60
    )
    assert (piped.returncode, piped.stdout) == (0, expected)


def test_the_words_held_out_are_scored(run_dir: Path) -> None:
    code, out, _ = firetree("predict", run_dir, "--labels", "--json")
    scores = json.loads(out)
    assert code == 0
    assert scores["phoneme_error_percent"] <= scores["word_error_percent"] < 10
    text = firetree("predict", run_dir, "--labels", "--beam", 2)[1]
    assert f" of {scores['texts']} words; " in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("1234",), "nothing in '1234' was in the training texts"),
        (("a", "--beam", 0), "--beam 0; expected 1 or more"),
        (("a", "--backend", "torch"), "--backend torch, but"),
        (("a", "--file", "a.txt"), "texts and --file; expected one of them"),
        (("--file", "nowhere.txt"), "cannot read nowhere.txt: "),
        (("a", "--labels"), "--labels and texts; expected one of them"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(
    run_dir: Path, options: tuple[object, ...], message: str
) -> None:
    code, out, err = firetree("predict", run_dir, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"firetree: {message}")
    assert err.count("\n") == 1


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    code, _, err = firetree("predict", tmp_path, "a.png")
    assert code == 2
    assert f"{tmp_path} is no run's folder" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.name", "lstm"), "model.name = 'lstm' is unknown for texts"),
        (("--model.hidden", 8), "model.hidden and model.parameters; expected one of them"),
        (("--model.rate", 0.5), "model.rate = 0.5; 'seq2seq_attention' does not have this field"),
        (("--data.test-fraction", 0.999), "pairs to train on and"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    dictionary: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    code, _, err = train(dictionary, tmp_path / "run", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


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
    code, _, err = firetree(
        *("train", "translation", "--data.path", tmp_path, "--run-dir", tmp_path / "run"),
        *("--model.parameters", 30_000, "--model.dropout", 0, "--optim.batch-size", 15),
        *("--optim.steps", 60, "--optim.warmup-epochs", 1),
    )
    assert (code, err) == (0, "")
    line = "the dog and the cat"
    assert firetree("predict", tmp_path / "run", line) == (0, f"{pairs[line]}\n", "")
    assert firetree("predict", tmp_path / "run", "--labels")[1].startswith("BLEU ")


def test_pictures_are_classified_from_a_run_s_folder(tmp_path: Path) -> None:
    from PIL import Image

    for number, colour in enumerate(["red", "blue"] * 8):
        folder = tmp_path / "pictures" / colour
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
    code, _, err = firetree(
        *("train", "digits", "--data.name", "folder", "--data.path", tmp_path / "pictures"),
        *("--run-dir", tmp_path / "run", "--optim.batch-size", 8, "--optim.epochs", 10),
    )
    assert (code, err) == (0, "")
    code, out, _ = firetree("predict", tmp_path / "run", tmp_path / "pictures", "--json")
    assert code == 0
    for answer in json.loads(out):
        assert answer["top5"][0]["name"] == Path(answer["picture"]).parent.name
