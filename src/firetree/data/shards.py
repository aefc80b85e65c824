"""Images in WebDataset's layout: tars in which `KEY.jpg` lies beside `KEY.cls` or `KEY.json`.

The start notes where each image lies. After that, each image can be read by itself, so epochs are as random
as those of other data.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from firetree.data.damaged import DamagedImageError
from firetree.data.decoding import SUFFIXES
from firetree.data.images import Dataset, Stored, in_files
from firetree.data.labels import labels_of
from firetree.data.listing import StoredFile, suffix_of
from firetree.data.split_files import split_files
from firetree.data.tars import TARS, list_tar
from firetree.errors import UserError
from firetree.output import printable

_LARGEST = np.iinfo(np.int64).max
_LONGEST_LABEL_BYTES = 1_000_000
_LONGEST_NAME = 200
_NUMBER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_NUMBERS = re.compile(r"\[?\s*[+-]?[0-9]+([\s,;]+[+-]?[0-9]+)+\s*\]?")
_INPUTS = ("input", "image", "img")
"""Words before the suffix that mark the image to classify, where a sample has several."""


def read_shards(path: Path) -> Dataset:
    """Read a shard, or a folder of shards whose names say what to test on (`split_files`).

    A label is a whole number (int64) or a class's name in KEY.cls, or `label` in KEY.json. The files of a
    sample may be anywhere in its shard.

    Raises:
        UserError: no shards, unreadable ones, or a sample without an image or a label.
    """
    files = split_files(path, TARS, "shard")
    passed_over = Counter(files.passed_over)
    train = _stored(files.train, passed_over)
    test = _stored(files.test, passed_over) if files.test else None
    return Dataset(
        train,
        test,
        test_from=files.test_from,
        files=len(files.train) + len(files.test),
        passed_over=passed_over,
        remarks=(*files.remarks, *files.left_alone),
    )


class _Sample(NamedTuple):
    image: StoredFile
    label: int | str
    shard: Path


def _stored(shards: list[Path], passed_over: Counter[str]) -> Stored:
    samples = [sample for shard in shards for sample in _samples(shard, passed_over)]
    return in_files(
        labels_of([sample.label for sample in samples]),
        lambda i: f"{printable(samples[i].image.name)} of {printable(samples[i].shard.name)}",
        [sample.image for sample in samples],
    )


def _samples(shard: Path, passed_over: Counter[str]) -> Iterator[_Sample]:
    listing = list_tar(shard)
    passed_over.update(listing.passed_over)
    by_key: defaultdict[str, dict[str, StoredFile]] = defaultdict(dict)
    for member in listing.files.values():
        key, kind = _split(member)
        by_key[key][kind] = member
    for key, members in by_key.items():
        where = f"{printable(key)} of {printable(str(shard))}"
        images = [kind for kind in members if f".{kind}".endswith(SUFFIXES)]
        label_kind = _label_kind(members)
        if not images and not (label_kind or "").endswith("cls"):
            passed_over.update(suffix_of(member.name) for member in members.values())
            continue
        image = members[_image_kind(where, images)]
        label = _label(where, members, label_kind)
        if image.length == 0:
            passed_over["empty"] += 1
        else:
            yield _Sample(image, label, shard)


def _split(member: StoredFile) -> tuple[str, str]:
    """The key, and the file's kind: all after the first dot of its name."""
    folder, slash, name = member.name.rpartition("/")
    stem, _, kind = name.partition(".")
    return folder + slash + stem, kind.lower()


def _image_kind(where: str, kinds: list[str]) -> str:
    """The image to classify: the only one, or the only one without words before its suffix, or the only
    one whose words say so."""
    plain = [kind for kind in kinds if "." not in kind]
    inputs = [kind for kind in kinds if kind.split(".")[0] in _INPUTS]
    for chosen in (kinds, plain, inputs):
        if len(chosen) == 1:
            return chosen[0]
    names = f" ({', '.join(map(printable, kinds))})" if kinds else ""
    raise UserError(
        f"{where} has {len(kinds)} images{names}; expected one with one of {' '.join(SUFFIXES)}, and a "
        "key without dots"
    )


def _label_kind(members: Mapping[str, StoredFile]) -> str | None:
    for end in ("cls", "json"):
        for kind in sorted(members, key=len):
            if kind.split(".")[-1] == end:
                return kind
    return None


def _label(where: str, members: Mapping[str, StoredFile], kind: str | None) -> int | str:
    if kind is None:
        raise UserError(f"{where} has no label; expected KEY.cls or KEY.json beside its image")
    try:
        member = members[kind]
        if (member.length or 0) > _LONGEST_LABEL_BYTES:
            raise ValueError(f"in a file of {member.length:,} bytes")
        content = member.content()
        label = _written(content) if kind.endswith("cls") else _labelled(json.loads(content))
        if not _fits(label):
            raise ValueError(f"{label!r:.80}")
    except RecursionError as error:
        raise UserError(f"{where}.{kind} is nested too deeply; expected a label in it") from error
    except (ValueError, DamagedImageError) as error:
        raise UserError(
            f"the label of {where} is {error}; expected a whole number of at most 64 bits, or a class's "
            "name, in KEY.cls, or as label in KEY.json"
        ) from error
    return cast(int | str, label)


def _written(content: bytes) -> int | str:
    text = content.decode().strip()
    if _NUMBERS.fullmatch(text):
        raise ValueError(f"{text!r:.80}, several labels")
    number = _NUMBER.fullmatch(text)
    return int(number[1]) if number else text


def _labelled(document: Any) -> Any:
    if not isinstance(document, dict) or "label" not in document:
        keys = ", ".join(map(repr, [*document][:5])) if isinstance(document, dict) else "no table"
        raise ValueError(f"not there: the file has {keys or 'nothing'}")
    label = document["label"]
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _fits(label: object) -> bool:
    if isinstance(label, str):
        return 0 < len(label) <= _LONGEST_NAME and label.isprintable()
    return type(label) is int and abs(label) <= _LARGEST
