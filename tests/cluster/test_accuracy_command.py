"""`firetree bench time-to-accuracy` as a user runs it: real trainings in a real lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import firetree
from test_bench import assert_one_line

TIME_TO = ("bench", "time-to-accuracy")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_each_way_is_trained_to_the_target_and_a_repeat_takes_what_is_there(tmp_path: Path) -> None:
    runs, page = tmp_path / "runs", tmp_path / "page.html"
    asked = (*TIME_TO, "digits", "--target", 0.2, "--ways", "gloo,ring+int8", "--seeds", 1)
    asked += ("--network", "2 x 100mbit", "--runs", runs, "--json", "--html", page)
    code, out, err = firetree(*asked, "--", "--optim.epochs", 3)
    assert code == 0, err
    found = json.loads(out)
    assert [run["way"] for run in found] == ["gloo", "ring+int8"]
    assert all(run["reached"] and run["accuracy"] >= 0.2 for run in found)
    plain, fewer = found
    assert fewer["sent_bytes"] / fewer["steps"] < 0.4 * plain["sent_bytes"] / plain["steps"]
    assert "ring+int8" in page.read_text(encoding="utf-8")
    code, out, err = firetree(*asked, "--", "--optim.epochs", 3)
    assert code == 0, err
    assert json.loads(out) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("digit",), "no recipe 'digit'"),
        (("digits", "--ways", "rings"), "no algorithm 'rings'"),
        (("digits", "--target", "90"), "--target is 90.0; expected above 0 and at most 1"),
        (("digits", "--seeds", "0"), "--seeds is 0; expected 1 or more"),
        (("digits", "--network", "four"), "'four'"),
        (("digits", "--", "--optim.lrr", "0.1"), "no field 'optim.lrr'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    asked: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert_one_line(*firetree(*TIME_TO, "--runs", tmp_path / "runs", *asked), message)
    assert not (tmp_path / "runs").exists()
