"""Tars as other tools leave them: joined end to end, or with names that lead above their own folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from reading import Encode, Write, load, tree_of

from firetree.errors import UserError


def names(path: Path) -> set[str]:
    splits = load("tar", path)
    return {part.name(k) for part in (splits.train, splits.test) for k in range(len(part))}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tars_joined_by_cat_are_read_to_the_last(
    tmp_path: Path, write_tar: Write, encode: Encode, suffix: str
) -> None:
    parts = [write_tar(tree_of(encode, folder)).read_bytes() for folder in "abc"]
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(gzip.compress(one) if suffix == ".tar.gz" else one for one in parts))
    assert names(path) == {f"{folder}/{number}.png" for folder in "abc" for number in range(3)}


def test_what_follows_the_end_of_a_tar_and_is_none_is_refused(
    tmp_path: Path, write_tar: Write, encode: Encode
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(write_tar(tree_of(encode, "a", "b")).read_bytes() + b"x" * 1024)
    with pytest.raises(UserError, match=r"cannot read .*x\.tar: "):
        load("tar", path)


def test_names_that_lead_above_their_folder_are_taken_below_it(
    write_tar: Write, encode: Encode
) -> None:
    tree = {f"../flowers/{name}": content for name, content in tree_of(encode, "a", "b").items()}
    assert names(write_tar(tree)) == {f"flowers/{f}/{n}.png" for f in "ab" for n in range(3)}
