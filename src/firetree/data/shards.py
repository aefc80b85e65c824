"""Pictures in WebDataset's layout: tars in which `KEY.jpg` lies beside `KEY.cls` or `KEY.json`.

Where each picture lies is noted once, at the start; from then on any of them can be read by itself,
so that the order of an epoch is as random as that of any other data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firetree.data.decoding import SUFFIXES
from firetree.data.pictures import Dataset, Stored, encoded
from firetree.data.tars import Member, checksum_of, tar_entries
from firetree.errors import UserError

_LARGEST = np.iinfo(np.int64).max
_TEST_NAME = re.compile(r"(^|[-_.])(test|val|validation)([-_.]|$)")


def read_shards(path: Path) -> Dataset:
    """A folder of shards, or one of them: those with test, val or validation in their names are to
    test on, the others to train on.

    A label is a whole number (int64) in KEY.cls, or `label` in KEY.json.

    Raises:
        UserError: no shards, unreadable ones, or a sample without a picture or a label.
    """
    shards = [path] if path.is_file() else sorted(path.glob("*.tar"))
    test = [shard for shard in shards if path.is_dir() and _TEST_NAME.search(shard.stem)]
    train = [shard for shard in shards if shard not in test]
    if not train:
        raise UserError(f"{path} holds no *.tar to train on; expected shards or a single one")
    return Dataset(_stored(train), _stored(test) if test else None)


class _Sample(NamedTuple):
    picture: Member
    label: int


def _stored(shards: list[Path]) -> Stored:
    samples = [sample for shard in shards for sample in _samples(shard)]
    labels = np.array([sample.label for sample in samples], np.int64)
    return encoded(
        labels,
        lambda i: _name(samples[i]),
        lambda i: samples[i].picture.content(),
        checksum_of(sample.picture for sample in samples),
    )


def _name(sample: _Sample) -> str:
    return f"{sample.picture.name} of {Path(sample.picture.source).name}"


def _samples(shard: Path) -> Iterator[_Sample]:
    files = (member for _, member in tar_entries(shard) if member is not None and _counts(member))
    for key, members in groupby(files, lambda member: _split(member)[0]):
        yield _sample(shard, key, {_split(member)[1]: member for member in members})


def _counts(member: Member) -> bool:
    return not member.name.rpartition("/")[2].startswith(".")


def _split(member: Member) -> tuple[str, str]:
    """The key, and what the file is: all after the first dot of its name."""
    folder, slash, name = member.name.rpartition("/")
    stem, _, kind = name.partition(".")
    return folder + slash + stem, kind.lower()


def _sample(shard: Path, key: str, members: dict[str, Member]) -> _Sample:
    pictures = [members[kind] for kind in members if f".{kind}" in SUFFIXES]
    if len(pictures) != 1:
        raise UserError(
            f"{key} of {shard} has {len(pictures)} pictures; expected one with one of "
            f"{' '.join(SUFFIXES)}"
        )
    return _Sample(pictures[0], _label(shard, key, members))


def _label(shard: Path, key: str, members: dict[str, Member]) -> int:
    where = f"{key} of {shard}"
    if not {"cls", "json"} & members.keys():
        raise UserError(f"{where} has no label; expected KEY.cls or KEY.json beside its picture")
    try:
        if "cls" in members:
            label = int(members["cls"].content())
        else:
            label = json.loads(members["json"].content())["label"]
        if type(label) is not int or abs(label) > _LARGEST:
            raise ValueError(label)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the label of {where} is {error}; expected a whole number of at most 64 bits in KEY.cls, "
            "or as label in KEY.json"
        ) from error
    return label
