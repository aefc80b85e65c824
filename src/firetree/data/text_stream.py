"""Files of text as one stream of symbols, cut into samples of equal length.

A border stands before and after each file, and samples go across it: no place is lost to padding, and a net
learns where a text begins and ends. Letters in names: B samples of a batch, T symbols of a sample.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firetree.data.account import HELD_OUT, Account, checksum
from firetree.data.batches import NO_ANSWER
from firetree.data.order import (
    Indices,
    RandomStream,
    batches_in_order,
    epoch_steps,
    random_stream,
)
from firetree.data.split_files import SplitFiles, text_files
from firetree.data.text_symbols import BORDER, TextSymbols, learn_symbols
from firetree.documents import read_bytes
from firetree.errors import UserError
from firetree.output import printable

SUFFIXES = (".txt", ".md", ".rst", ".txt.gz", ".md.gz", ".rst.gz")
"""Of the files of a folder that are read; a file that is named itself may have any."""

_BORDER = bytes([BORDER])


@dataclass(frozen=True, slots=True)
class TextStream:
    """Samples of a stream, each symbol but the stream's first one being the answer at one place.

    The last sample may be shorter: behind its end, borders are read and no answer is asked for.
    """

    symbols: npt.NDArray[Any]
    length: int
    """T."""
    first: int = 0
    """Where the first sample begins. The last ones go on at the stream's beginning."""

    @property
    def answers_in_all(self) -> int:
        """One for each symbol but the first."""
        return len(self.symbols) - 1

    def __len__(self) -> int:
        return epoch_steps(self.answers_in_all, self.length)

    def cut_anew(self, seed: int, epoch: int) -> TextStream:
        """The same stream, cut into samples elsewhere, so that other symbols have the least before them."""
        first = random_stream(RandomStream.CUTS, seed, epoch).integers(self.length)
        return replace(self, first=int(first))

    def take(self, indices_B: Indices) -> tuple[npt.NDArray[Any], Indices]:
        """Symbols x_BT, and the one after each, y_BT."""
        place_BT = indices_B[:, None] * self.length + np.arange(self.length)
        inside_BT = place_BT < self.answers_in_all
        place_BT = (place_BT + self.first) % self.answers_in_all
        x_BT, y_BT = (self.symbols[place_BT + after].astype(np.int64) for after in (0, 1))
        return np.where(inside_BT, x_BT, BORDER), np.where(inside_BT, y_BT, NO_ANSWER)

    def answers(self, indices_B: Indices) -> int:
        """Symbols that these samples ask for."""
        ends_B = np.minimum((indices_B + 1) * self.length, self.answers_in_all)
        return int((ends_B - indices_B * self.length).sum())

    def steps(self, order_N: Indices, batch_size: int) -> list[Indices]:
        return batches_in_order(order_N, batch_size)


@dataclass(frozen=True, slots=True)
class TextStreams:
    """What to train on and what to test on, and how both are written."""

    train: TextStream
    test: TextStream
    test_bytes: int
    """Bytes of text that the symbols of `test` stand for."""
    symbols: TextSymbols
    account: Account


def load_streams(path: Path, pieces: int | None, length: int, fraction: float) -> TextStreams:
    """Read a file of text, or all in a folder and below it, in the order of their names.

    Args:
        path: the file or the folder; names may end in .gz.
        pieces: symbols to write the text in, learned from the part to train on; None for bytes.
        length: symbols of a sample.
        fraction: share of the bytes, at the end, that is held out where no names say the splits.

    Raises:
        UserError: a file that cannot be read or is no text, or too little of it.
    """
    files = text_files(path, SUFFIXES)
    passed_over = Counter(files.passed_over)
    train, test = (_joined(them, passed_over) for them in (files.train, files.test))
    test_from = files.test_from
    if not files.test:
        cut = round(len(train) * (1 - fraction))
        train, test = train[:cut], train[cut:]
        test_from = f"{HELD_OUT}, the last {100 * fraction:g} % of the text"
    symbols = learn_symbols(train, pieces) if pieces else TextSymbols()
    encoded_train, encoded_test = symbols.encode(train), symbols.encode(test)
    if not files.test:
        encoded_test = np.concatenate([encoded_train[-1:], encoded_test])
    streams = TextStream(encoded_train, length), TextStream(encoded_test, length)
    train_bytes, test_bytes = (len(part) - part.count(_BORDER) for part in (train, test))
    if streams[0].answers_in_all < length or not test_bytes:
        raise UserError(
            f"{path} has {max(0, streams[0].answers_in_all):,} symbols to train on and {test_bytes:,} bytes to "
            f"test on; expected at least data.length = {length} and 1"
        )
    account = Account(
        samples="bytes",
        train=train_bytes,
        test=test_bytes,
        test_from=test_from,
        files=len(files.train) + len(files.test),
        passed_over=dict(+passed_over),
        remarks=(_as_samples(files, streams[0], symbols, train), *files.remarks, *files.left_alone),
        checksum=checksum((train, test)),
    )
    return TextStreams(*streams, test_bytes, symbols, account)


def _joined(files: Sequence[Path], passed_over: Counter[str]) -> bytes:
    texts = list(filter(None, map(_read, files)))
    passed_over["empty"] += len(files) - len(texts)
    return _BORDER.join((b"", *texts, b""))


def _read(path: Path) -> bytes:
    """The text of a file (UserError where it is none, with the place)."""
    content = read_bytes(path, "text").removeprefix(codecs.BOM_UTF8)
    try:
        content.decode()
        place = content.find(_BORDER)
    except UnicodeDecodeError as error:
        place = error.start
    if place < 0:
        return content
    line = content.count(b"\n", 0, place) + 1
    raise UserError(
        f"text {printable(str(path))} is not in UTF-8: byte {place:,}, in line {line:,}, is "
        f"{content[place]:#04x}; save it as UTF-8, or move it elsewhere"
    )


def _as_samples(files: SplitFiles, train: TextStream, symbols: TextSymbols, content: bytes) -> str:
    count, what = len(files.train), "bytes"
    if symbols.pieces:
        each = len(content) / len(train.symbols)
        what = f"pieces, of which there are {len(symbols):,}; a piece has {each:.1f} bytes"
    of = f"{count:,} file{'s' * (count > 1)}"
    return f"trained on {of} in {len(train):,} samples of {train.length} {what}"
