"""Text as a stream: every symbol is asked for once, borders stay, and files that are no text are refused."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.data import SequenceLoader
from firetree.data.batches import NO_ANSWER
from firetree.data.text_stream import TextStream, TextStreams, load_streams
from firetree.data.text_symbols import BORDER, BYTES, TextSymbols, learn_symbols
from firetree.errors import UserError

TEXTS = st.text(st.sampled_from("abc é€.\n \t\r!"), max_size=60)


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def streams(path: Path, pieces: int | None = None, length: int = 4) -> TextStreams:
    return load_streams(path, pieces, length, 0.25)


def text_of(stream: TextStream, symbols: TextSymbols) -> bytes:
    return symbols.decode(stream.symbols.tolist())


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(BYTES, BYTES + 30))
def test_any_text_comes_back_from_its_symbols(texts: list[str], count: int) -> None:
    content = "\0".join(texts).encode()
    for symbols in (TextSymbols(), learn_symbols(content, count)):
        numbers = symbols.encode(content)
        assert symbols.decode(numbers.tolist()) == content
        assert symbols.decode(symbols.encode("ñ unseen".encode()).tolist()).decode() == "ñ unseen"
        assert len(symbols) <= count
        assert (numbers == BORDER).sum() == content.count(0)


def test_bytes_take_one_byte_each_and_pieces_two() -> None:
    symbols = learn_symbols(b"the cat and the dog and the eel", 270)
    assert TextSymbols().encode(b"the cat").dtype == np.uint8
    assert symbols.encode(b"the cat").dtype == np.uint16
    assert len(symbols.encode(b" the and the")) == 3


@given(
    st.integers(1, 70), st.integers(1, 9), st.integers(0, 5), st.integers(1, 5), st.integers(1, 4)
)
def test_an_epoch_asks_for_each_symbol_once_whatever_the_ranks(
    count: int, length: int, epoch: int, batch_size: int, world_size: int
) -> None:
    stream = TextStream(np.arange(count + 1, dtype=np.int32), length)

    def asked(rank: int, world_size: int) -> tuple[list[int], list[int]]:
        loader = SequenceLoader(
            lambda epoch: stream.cut_anew(0, epoch),
            stream,
            batch_size=batch_size,
            seed=0,
            rank=rank,
            world_size=world_size,
        )
        answers, counts = [], []
        for batch in loader.training_batches(epoch):
            assert batch.x.shape == batch.y.shape
            inside = batch.y != NO_ANSWER
            assert ((batch.y - batch.x)[inside] == 1).all()
            assert (batch.x[~inside] == BORDER).all()
            answers += batch.y[inside].tolist()
            counts.append(batch.global_count)
            assert world_size > 1 or batch.count == batch.global_count
        return answers, counts

    alone, counts = asked(0, 1)
    assert sorted(alone) == [*range(1, count + 1)]
    assert len(stream) == -(-count // length)
    by_rank = [asked(rank, world_size) for rank in range(world_size)]
    assert sorted(answer for answers, _ in by_rank for answer in answers) == sorted(alone)
    assert all(its_counts == counts for _, its_counts in by_rank)


def test_each_epoch_cuts_the_text_elsewhere() -> None:
    stream = TextStream(np.arange(1001), 100)
    assert len({stream.cut_anew(0, epoch).first for epoch in range(20)}) > 5
    assert stream.cut_anew(3, 4) == stream.cut_anew(3, 4)


@pytest.mark.parametrize("pieces", [None, 300])
def test_files_are_one_stream_with_a_border_around_each(tmp_path: Path, pieces: int | None) -> None:
    files = {"b.md": "Second. é", "a.txt": "First.", "deeper/c.txt.gz": "Third.", "x.png": "no"}
    found = streams(written(tmp_path, files | {"empty.txt": ""}), pieces)
    train, test = (text_of(part, found.symbols) for part in (found.train, found.test))
    whole = "\0First.\0Second. é\0Third.\0".encode()
    assert train + test[len(found.symbols.decode(found.test.symbols[:1].tolist())) :] == whole
    assert found.test_bytes == found.account.test == len(whole) - len(train) - test[1:].count(0)
    [line, samples] = found.account.lines()
    assert line == (
        f"{found.account.train} bytes to train on, {found.test_bytes} to test (held out, the last 25 % "
        "of the text); passed over: 1 .png, 1 empty"
    )
    assert samples.startswith(f"trained on 3 files in {len(found.train)} samples of 4 ")
    assert found.account.files == 3


def test_what_is_held_out_goes_on_where_the_training_text_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefgh" * 4)
    found = streams(tmp_path / "a.txt")
    x_BT, y_BT = found.test.take(np.arange(len(found.test)))
    assert x_BT[0, 0] == found.train.symbols[-1]
    asked = y_BT[y_BT != NO_ANSWER].tolist()
    assert [*found.train.symbols[1:], *asked] == [*("abcdefgh" * 4).encode(), BORDER]


def test_names_say_the_splits_where_some_are_of_train_and_others_held_out(tmp_path: Path) -> None:
    files = {
        "train/testing.md": "to train on",
        "val/a.md": "to test",
        "test/b.md": "left alone",
        "notes.md": "of no split",
    }
    found = streams(written(tmp_path, files))
    assert text_of(found.train, found.symbols) == b"\0to train on\0"
    assert text_of(found.test, found.symbols) == b"\0to test\0"
    assert found.test_bytes == 7
    assert found.account.lines()[0].endswith(
        "to test (from val/a.md); passed over: 1 text of no split"
    )
    assert found.account.lines()[-1].endswith("test/b.md is left alone")


def test_a_text_that_is_called_training_is_one_like_others(tmp_path: Path) -> None:
    found = streams(written(tmp_path, {"training.md": "one", "other.md": "two"}))
    both = text_of(found.train, found.symbols) + text_of(found.test, found.symbols)[1:]
    assert both == b"\0two\0one\0"


def test_pieces_are_learned_from_the_text_to_train_on_alone(tmp_path: Path) -> None:
    files = {"train.txt": "ab ab ab ab", "val.txt": "xyxyxyxyxyxy"}
    found = streams(written(tmp_path, files), 300)
    assert " ab" in found.symbols.pieces
    assert not any("x" in piece for piece in found.symbols.pieces)
    assert found.test.answers_in_all == 13


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            b"one\ntwo \xff three",
            "is not in UTF-8: byte 8, in line 2, is 0xff; save it as",
        ),
        ("a.md", "é".encode("utf-16"), "is not in UTF-8: byte 0, in line 1, is 0xff"),
        ("a.md", b"binary\0", "is not in UTF-8: byte 6, in line 1, is 0x00"),
        ("a.txt.gz", b"not packed", "cannot be read: Not a gzipped file"),
        (
            "a.txt",
            b"ab",
            "has 2 symbols to train on and 0 bytes to test on; expected at least data",
        ),
        ("a.png", b"ab", "holds no text; expected .txt .md .rst .txt.gz .md.gz .rst.gz; passed o"),
        ("a.txt", b"\xef\xbb\xbf", "has 0 symbols to train on"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line_with_its_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        streams(tmp_path)
    assert message in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_mark_of_utf_8_is_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone two three".encode())
    found = streams(tmp_path)
    assert text_of(found.train, found.symbols).startswith(b"\0one")
