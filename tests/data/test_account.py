"""What was taken and passed over is counted, and what makes an accuracy mean less is said."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from reading import Encode, Write, load, tree_of

from firetree.data.account import Account, remarks_on_labels
from firetree.data.texts import load_phonemes, load_translations

CLASSES = ("daisy", "rose", "tulip", "violet", "weed")


def test_an_account_is_one_line_and_its_tail_is_what_was_passed_over() -> None:
    counts = {"broken link": 1, ".bmp2": 10, "repeated folder": 2}
    account = Account("images", 1200, 1, "from valid/", 2, passed_over=counts, remarks=("mind",))
    assert account.lines() == (
        "1,200 images of 2 classes to train on, 1 to test (from valid/); passed over: 10 .bmp2, "
        "2 repeated folders, 1 broken link",
        "mind",
    )
    assert Account("pairs", 1, 2).lines() == ("1 pair to train on, 2 to test (held out)",)


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([5, 9_000], "images to train on by class: 1: 9,000, 0: 5"),
        ([7] * 12, "images to train on by class: 7 each"),
        ([0, *range(20, 30)], "images to train on by class: 29 (10) to 0 (0)"),
    ],
)
def test_a_line_counts_the_images_of_each_class_or_of_the_extremes(
    counts: list[int], line: str
) -> None:
    per_class = {str(number): count for number, count in enumerate(counts)}
    account = Account("images", sum(counts), 9, classes=len(counts), per_class=per_class)
    assert account.lines()[1:] == (line,)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([20] * 5, [20] * 5, []),
        (
            [20] * 5,
            [90, 0, 20, 20, 20],
            [
                "no images to test on in 1 of 5 classes: rose",
                "60.0% of the test images are of the class daisy: "
                "who always says so has that accuracy",
            ],
        ),
        ([20, 20, 20, 0, 20], [20] * 5, ["no images to train on in 1 of 5 classes: violet"]),
        (
            [20, 1, 1, 1, 1],
            [20] * 5,
            [
                "one image to train on in 4 of 5 classes: rose, tulip, violet and 1 more",
                "the class daisy has 20 times the images to train on that rose has; "
                "each class counts alike only with optim.class_weights = balanced",
            ],
        ),
        ([90, 10, 10, 10, 10], [20] * 5, []),
        (
            [20] * 5,
            [31, 17, 17, 17, 18],
            [
                "31.0% of the test images are of the class daisy: who always says so has that accuracy"
            ],
        ),
        ([1000] * 5, [8] * 5, ["40 images to test on: each is 2.5 % of the accuracy"]),
        (
            [1000, 9, 9, 9, 9],
            [96, 1, 1, 1, 1],
            [
                "96.0% of the test images are of the class daisy: "
                "who always says so has that accuracy",
                "the class daisy has 111 times the images to train on that rose has; "
                "each class counts alike only with optim.class_weights = balanced",
            ],
        ),
    ],
)
def test_what_the_counts_hide_is_said_with_its_number(
    train: list[int], test: list[int], expected: list[str]
) -> None:
    labels = [np.repeat(np.arange(5), counts) for counts in (train, test)]
    assert list(remarks_on_labels(*labels, CLASSES, "images")) == expected


def test_the_fingerprint_is_that_of_the_data_wherever_they_lie(
    write_folder: Write, encode: Encode, tmp_path: Path
) -> None:
    files = tree_of(encode, "a", "b")
    here = load("folder", write_folder(files)).account
    (tmp_path / "tree").rename(tmp_path / "elsewhere")
    assert load("folder", tmp_path / "elsewhere").account.fingerprint == here.fingerprint
    (tmp_path / "elsewhere/a/0.png").rename(tmp_path / "elsewhere/b/9.png")
    assert load("folder", tmp_path / "elsewhere").account.fingerprint != here.fingerprint


def test_texts_are_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "dict"
    path.write_text(
        ";;; old\n# new\n\nCAT K AE1 T\ncat K AE0 T\ndog D AO G\ncow K AW\nant AE N T\n"
    )
    account = load_phonemes(path, "test", 0.5, None).account
    assert dict(account.passed_over) == {"comment": 2, "blank line": 1, "repeated pair": 1}
    assert account.train + account.test == 4
    few = load_phonemes(path, "test", 0.5, 1).account
    assert few.passed_over["pair beyond data.examples"] == account.train - 1


@pytest.mark.parametrize(
    "held_out",
    ["dev.en", "valid.en", "Validation_Set.en", "val.en.gz", "data/val.en", "x.dev.en", "dev/x.en"],
)
def test_parallel_texts_are_found_by_any_usual_name_without_their_byte_order_mark(
    tmp_path: Path, held_out: str
) -> None:
    for name in ("training.en", held_out):
        for language in ("en", "de"):
            text = f"\ufeffone {language}\n\ntwo\n".encode()
            packed = gzip.compress(text) if name.endswith("gz") else text
            path = tmp_path / name.replace(".en", f".{language}")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(packed)
    splits = load_translations(tmp_path, ("en", "de"), "validation", 40, None)
    assert splits.test_pairs == (("one en", "one de"), ("two", "two"))
    assert splits.account.lines() == (
        f"2 pairs to train on, 2 to test (from {held_out}); passed over: 2 pairs with a blank line",
    )
    written = json.dumps(asdict(splits.account))  # as a run's data.json
    assert json.loads(written)["passed_over"] == {"pair with a blank line": 2}
