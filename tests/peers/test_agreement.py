"""Ranks that differ, or of which one cannot go on, all end with the same line."""

from __future__ import annotations

import socket

import pytest
import torch.distributed as dist
from ranks import run_on_ranks

from firetree.errors import RunFailedError, UserError
from firetree.peers import agree, together
from firetree.peers.agreement import first_difference


@pytest.mark.parametrize(
    ("first", "other", "field", "values"),
    [
        ({"optim": {"lr": 0.1}}, {"optim": {"lr": 0.01}}, "optim.lr", ("0.1", "0.01")),
        ({"seed": 1}, {"seed": None}, "seed", ("1", "None")),
        ({"a": 1, "b": 2}, {"a": 1}, "b", ("2", "missing")),
        ({"a": 1}, {"a": 1, "b": "x"}, "b", ("missing", "'x'")),
        ({"names": ["d", "r"]}, {"names": ["d", "t"]}, "names[1]", ("'r'", "'t'")),
        ({"names": ["d"]}, {"names": ["d", "t"]}, "names[1]", ("missing", "'t'")),
        ({"names": ["d"]}, {"names": []}, "names[0]", ("'d'", "missing")),
        ({"flag": True}, {"flag": 1}, "flag", ("True", "1")),
        ({"name": "\x1b[2J"}, {"name": ""}, "name", (r"'\x1b[2J'", "''")),
    ],
)
def test_a_difference_is_found_by_its_field(first, other, field, values) -> None:
    assert first_difference([first, first, other]) == (field, 2, *values)


def test_long_values_are_told_by_both_ends() -> None:
    one, other = (f"/data/{'a' * 1000}/{end}" for end in ("one", "other"))
    *_, ours, theirs = first_difference([{"path": one}, {"path": other}]) or ()
    assert (ours[:7], ours[-5:]) == ("'/data/", "/one'")
    assert (theirs[:7], theirs[-7:]) == ("'/data/", "/other'")
    assert max(len(ours), len(theirs)) <= 80


def test_what_is_alike_has_no_difference() -> None:
    alike = {"a": {"b": [1, None, float("nan")], "c": {}}, "d": []}
    assert first_difference([alike, dict(reversed(alike.items()))]) is None


def _outcome(work) -> tuple[str, str]:
    try:
        return "done", str(work())
    except Exception as error:
        return type(error).__name__, str(error)


def _agreed() -> tuple[str, str]:
    return _outcome(lambda: agree({"optim": {"lr": 0.1 + (dist.get_rank() == 2)}}, "run the same"))


def test_every_rank_is_told_which_rank_differs() -> None:
    host = socket.gethostname()
    line = f"optim.lr is 0.1 on rank 0 (host {host}) and 1.1 on rank 2 (host {host}); run the same"
    assert run_on_ranks(3, _agreed) == [("UserError", line)] * 3


def _worked(failures) -> tuple[str, str]:
    failure = failures[dist.get_rank()]

    def work() -> str:
        if failure is not None:
            raise failure
        return "result"

    return _outcome(lambda: together(work))


@pytest.mark.parametrize(
    ("failures", "ends"),
    [
        ([None, None], [("done", "result")] * 2),
        (
            [None, UserError("no file 'a'")],
            [("UserError", f"rank 1 (host {socket.gethostname()}): no file 'a'")] * 2,
        ),
        ([UserError("no file 'a'")] * 2, [("UserError", "no file 'a'")] * 2),
        ([RunFailedError("full")] * 2, [("RunFailedError", "full")] * 2),
        (
            [None, IndexError("12")],
            [
                ("RunFailedError", f"rank 1 (host {socket.gethostname()}): IndexError: 12"),
                ("IndexError", "12"),
            ],
        ),
    ],
)
def test_what_one_rank_cannot_do_ends_all(failures, ends) -> None:
    assert run_on_ranks(2, _worked, failures) == ends
