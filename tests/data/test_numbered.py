"""Names of shards say which of a numbered set are missing, and which are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import Encode, load

from firetree.data.numbered import remarks_on_numbers


def remarks(*names: str) -> list[str]:
    return remarks_on_numbers([tuple(name.split("/")) for name in names], (".tar", ".tar.gz"))


def numbered(pattern: str, numbers: Sequence[int]) -> list[str]:
    return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (numbered("train-{:06}.tar", (0, 1, 3, 5)), "2 of 6 (train-000002, train-000004)"),
        (numbered("{}.tar", (1, 2, 4)), "1 of 4 (3)"),
        (numbered("data/{:02}.tar", (2, 3, 4, 5)), "2 of 6 (data/00, data/01)"),
        (numbered("part-{:05}-c000.tar.gz", (0, 2)), "1 of 3 (part-00001-c000)"),
        (numbered("a-{:05}-of-00004.tar", (0, 1)), "2 of 4 (a-00002-of-00004, a-00003-of-00004)"),
        (numbered("a-{}-of-4.tar", (1, 2, 4)), "1 of 4 (a-3-of-4)"),
        (["a-0-of-2-f3.tar", "b-1-of-3-00.tar", "b-2-of-3-9.tar"], "1 of 2 (a-1-of-2)"),
        (numbered("a-{}-of-900000000000.tar", (1,)), "(a-0-of-900000000000, a-2-of-900000000000, "),
    ],
)
def test_what_a_numbered_set_lacks_is_named(names: list[str], expected: str) -> None:
    assert expected in remarks(*names)[0]
    assert "numbered files are missing: " in remarks(*names)[0]


@pytest.mark.parametrize(
    "names",
    [
        numbered("train-{:06}.tar", range(4)),
        numbered("train-{}.tar", range(1, 12)),
        numbered("a-{:05}-of-00003.tar", range(3)),
        numbered("a-{}-of-3.tar", (1, 2, 3)),
        ["a-00000-of-00002-8f3c.tar", "a-00001-of-00002-77ab.tar"],
        ["train2017.tar"],
        ["train.tar", "extra.tar"],
        numbered("train-{}.tar", (20240131, 20240201, 20240315)),
        [*numbered("a-{}.tar", (0, 1)), *numbered("b-{}.tar", (0, 1, 2))],
        numbered("{:06}.tar", range(700, 800)),
        ["x/0.tar", "y/0.tar"],
        [],
    ],
)
def test_whole_sets_and_names_that_number_nothing_need_no_remark(names: list[str]) -> None:
    assert remarks(*names) == []


@pytest.mark.parametrize(
    "names",
    [
        ("a-0.tar", "a-0 (1).tar"),
        ("a-0 - Copy.tar", "a-0.tar"),
        ("a-0 copy 2.tar", "a-0.tar"),
        ("a.tar", "a.tar.gz"),
        ("a-0-of-1-ab12.tar", "a-0-of-1-ff00.tar"),
    ],
)
def test_files_that_are_one_by_their_names_are_told(names: tuple[str, ...]) -> None:
    assert remarks(*names) == [f"{' and '.join(names)} are one file by their names; each is read"]


def test_two_sets_of_one_name_are_told() -> None:
    names = [*numbered("a-{}-of-2.tar", range(2)), *numbered("a-{}-of-3.tar", range(3))]
    assert remarks(*names) == ["a-* are files of 2 and of 3; each is read"]


def test_what_is_missing_of_each_split_is_told_with_the_account(
    tmp_path: Path, encode: Encode
) -> None:
    for name in ("train-0-of-2", "train-1-of-2", "test-0-of-2", "partial-train/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table = pa.table({"image": [encode(0), encode(1)], "label": [0, 1]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "partial-train/0.parquet").rename(tmp_path / "partial-train.parquet")
    told = load("parquet", tmp_path).account.remarks
    assert "numbered files are missing: 1 of 2 (test-1-of-2)" in told
    assert "partial-train.parquet is only a part of its data set by its name" in told
