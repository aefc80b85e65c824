"""Pairs of texts from disk, and how they are put into batches."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.data.batches import NO_ANSWER
from firetree.data.texts import (
    Pairs,
    Ragged,
    TextSplits,
    load_phonemes,
    load_translations,
)
from firetree.data.vocabulary import END, PADDING
from firetree.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data"
DICTIONARY = """;;; an old comment
'bout B AW1 T
a AH0
a(2) EY1
a(3) AH1
aalborg AO1 L B AO0 R G # place, danish
BOOK  B UH1 K
cat K AE1 T
dog D AO1 G
eel IY1 L
eux 2
fox F AA1 K S
"""


def phonemes(path: Path, held_out: str = "test", fraction: float = 0.3) -> TextSplits:
    return load_phonemes(path, held_out, fraction, None)


def test_a_dictionary_is_read_with_variants_and_without_stress_and_comments(tmp_path: Path) -> None:
    plain, packed = tmp_path / "dict.txt", tmp_path / "dict.gz"
    plain.write_text(DICTIONARY)
    packed.write_bytes(gzip.compress(DICTIONARY.encode()))
    splits = phonemes(plain)
    assert texts_of(splits) == texts_of(phonemes(packed))
    known = set(splits.test_pairs) | set(texts_of(splits))
    assert {pair for pair in known if pair[0] == "a"} == {("a", "AH"), ("a", "EY")}
    assert {("'bout", "B AW T"), ("aalborg", "AO L B AO R G"), ("book", "B UH K")} <= known
    assert ("eux", "2") in known, "a digit alone is a phoneme"
    assert len(known) == 10


def texts_of(splits: TextSplits) -> list[tuple[str, str]]:
    """The training pairs as texts."""
    sides = []
    for ragged, vocabulary in (
        (splits.train.sources, splits.source),
        (splits.train.targets, splits.target),
    ):
        parts = np.split(ragged.flat, ragged.starts_N[1:-1])
        sides.append([vocabulary.decode(part[:-1].tolist()) for part in parts])
    return list(zip(*sides, strict=True))


def test_the_same_words_are_held_out_whatever_the_order_and_all_their_variants(
    tmp_path: Path,
) -> None:
    words = [f"{a}{b}{c}" for a in "abcde" for b in "fghij" for c in "klmno"]
    lines = [f"{word} X{n}\n{word}(2) Y\n" for n, word in enumerate(words)]
    (tmp_path / "one").write_text("".join(lines))
    (tmp_path / "other").write_text("".join(reversed(lines)))
    one, other = (phonemes(tmp_path / name, fraction=0.1) for name in ("one", "other"))
    held_out = {word for word, _ in one.test_pairs}
    assert held_out == {word for word, _ in other.test_pairs}
    assert held_out.isdisjoint(word for word, _ in texts_of(one))
    assert len(one.test_pairs) == 2 * len(held_out)
    assert 5 <= len(held_out) <= 25
    validation = phonemes(tmp_path / "one", "validation", 0.1)
    seen_then = {word for word, _ in (*texts_of(validation), *validation.test_pairs)}
    assert seen_then.isdisjoint(held_out)


def write_parallel(folder: Path, **files: str) -> Path:
    content = {
        "train.en": "A dog.\nA cat.\n \nTwo men.\n",
        "train.de": "Ein Hund.\nEine Katze.\nNichts.\nZwei Männer.\n",
        "val.en": "A man.\n",
        "val.de": "Ein Mann.\n",
        "test_2016_flickr.en": "Two cats.\n",
        "test_2016_flickr.de": "Zwei Katzen.\n",
    } | {name.replace("__", "."): text for name, text in files.items()}
    for name, text in content.items():
        if text:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_a_folder_of_two_languages_is_read_in_either_direction(tmp_path: Path) -> None:
    folder = write_parallel(tmp_path)
    there = load_translations(folder, ("en", "de"), "test", 40, None)
    back = load_translations(folder, ("de", "en"), "validation", 40, 2)
    assert texts_of(there)[2] == ("Two men.", "Zwei Männer.")
    assert len(there.train) == 3
    assert there.test_pairs == (("Two cats.", "Zwei Katzen."),)
    assert texts_of(back) == [("Ein Hund.", "A dog."), ("Eine Katze.", "A cat.")]
    assert back.test_pairs == (("Ein Mann.", "A man."),)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "within", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
)
def test_nothing_but_newlines_ends_a_line(tmp_path: Path, end: str, within: str) -> None:
    english = [f"A{within}dog.", "", "Two men."]
    folder = write_parallel(
        tmp_path,
        train__en=end.join(english) + end,
        train__de=end.join(["Ein Hund.", "Nichts.", "Zwei Männer."]),
    )
    splits = load_translations(folder, ("de", "en"), "validation", 40, None)
    german, read = zip(*texts_of(splits), strict=True)
    assert german == ("Ein Hund.", "Zwei Männer.")
    assert [text.split() for text in read] == [["A", "dog."], ["Two", "men."]]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val__en": ""}, "files val*.en[.gz] in {folder}: none; expected one"),
        ({"val_2__en": "A\n"}, "val.en.gz, val_2.en.gz; expected one"),
        ({"train__en": "One.\n"}, "train.en.gz has 1 lines and train.de.gz 4; expected one"),
        ({"val__en": "\n"}, "{folder} has 3 pairs to train on and 0 to test on"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = write_parallel(tmp_path, **files)
    with pytest.raises(UserError) as refusal:
        load_translations(folder, ("en", "de"), "validation", None, None)
    assert message.format(folder=folder) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"cat K AE T\ndog\n", "line 2 of {path} is 'dog'; expected a word and its"),
        ("a.txt", b"\xff\xfe", "file {path} is not in UTF-8"),
        (
            "a.gz",
            gzip.compress(b"cat K AE T", mtime=0)[:-9],
            "file {path} cannot be read: Compressed file ended",
        ),
        ("a.gz", b"cat K AE T", "file {path} cannot be read: Not a gzipped file"),
        ("a.txt", b"cat K AE T\n", "pairs to train on and"),
    ],
)
def test_a_dictionary_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        phonemes(path)
    assert message.format(path=path) in str(refusal.value)


def made_pairs(lengths: list[tuple[int, int]]) -> Pairs:
    sides = zip(*lengths, strict=True)
    return Pairs(*(Ragged.of([list(range(2, 2 + length)) for length in side]) for side in sides))


def test_a_batch_has_sources_the_symbol_before_each_target_and_the_targets() -> None:
    x_B2T, y_BT = made_pairs([(2, 1), (3, 2), (0, 0)]).take(np.array([1, 0]))
    assert x_B2T.tolist() == [
        [[2, 3, 4, END], [END, 2, 3, END]],
        [[2, 3, END, PADDING], [END, 2, END, PADDING]],
    ]
    assert y_BT.tolist() == [[2, 3, END, NO_ANSWER], [2, END, NO_ANSWER, NO_ANSWER]]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_an_epoch_has_each_pair_once_and_those_of_a_length_together(
    lengths: list[tuple[int, int]], batch_size: int, random
) -> None:
    pairs = made_pairs(lengths)
    order_N = np.array(random.sample(range(len(lengths)), len(lengths)))
    steps = pairs.steps(order_N, batch_size)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    assert sorted(map(len, steps))[1:] == [batch_size] * (len(steps) - 1)
    spans = sorted(
        (int(pairs.lengths_N[step].min()), int(pairs.lengths_N[step].max())) for step in steps
    )
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.skipif(not SHARED.exists(), reason="no shared data here")
def test_little_is_padding_in_a_real_dictionary() -> None:
    splits = load_phonemes(SHARED / "cmudict/cmudict.dict.gz", "test", 0.1, 20_000)
    order_N = np.random.default_rng(0).permutation(len(splits.train))
    steps = splits.train.steps(order_N, 128)
    places = sum(splits.train.take(step)[0][:, 0].size for step in steps)
    assert splits.train.lengths_N.sum() > 0.97 * places
    assert len(splits.target.symbols) == 39
    assert 0.09 < len(splits.test_pairs) / 135_166 < 0.11


@pytest.mark.parametrize("blank", ["\u00a0", "\u2028", "\x1c", "\x85", "\u3000"])
def test_only_spaces_and_tabs_end_a_word(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "dict"
    path.write_text(f"{DICTIONARY}w{blank}x\tW EH1 K S\n", encoding="utf-8")
    splits = phonemes(path)
    assert (f"w{blank}x", "W EH K S") in {*splits.test_pairs, *texts_of(splits)}


def test_files_beside_those_of_parallel_texts_are_passed_over(tmp_path: Path) -> None:
    for name in ("train.en", "train.de", "val.en", "val.de", "test.en", "test.de", "train.fr"):
        (tmp_path / name).write_text("one\ntwo\n")
    (tmp_path / ".git").mkdir()
    account = load_translations(tmp_path, ("en", "de"), "test", 40, None).account
    assert account.passed_over == {".de": 1, ".en": 1, ".fr": 1, "hidden": 1}


def test_a_language_is_not_translated_into_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="are both en; expected two languages"):
        load_translations(tmp_path, ("en", "en"), "test", 40, None)
