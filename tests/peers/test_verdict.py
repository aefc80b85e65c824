"""Who failed, concluded from what ranks say: a table of what can happen."""

from __future__ import annotations

import pytest

from firetree.peers.verdict import Conclusion, Entry, conclude, describe, waited_for

HOSTS = {rank: f"10.0.0.{rank}" for rank in range(4)}


def lost(number=1, peer=None, **missing):
    return Entry(
        number, "lost", "here", peer, {int(rank[1:]): how for rank, how in missing.items()}
    )


ALIVE, WAITS = Entry(1, "computes", "step 3"), Entry(1, "waits", "step 4")

CASES = {
    "a killed rank": ({0: lost(r3="gone"), 1: WAITS, 2: WAITS}, Conclusion("gone", (3,))),
    "a stopped rank beside one too busy to answer": (
        {0: lost(peer=1, r1="silent", r3="silent"), 1: lost(peer=3)},
        Conclusion("silent", (3,)),
    ),
    "two hosts at once": (
        {0: lost(r1="unreachable", r3="unreachable"), 2: WAITS},
        Conclusion("unreachable", (1, 3)),
    ),
    "gone for a reason": (
        {0: lost(4, peer=1, r1="gone", r3="silent"), 1: lost(2, peer=3, r3="silent")},
        Conclusion("silent", (3,)),
    ),
    "ended because of the first failure": (
        {0: lost(5, r2="gone", r3="silent"), 1: lost(2, peer=3, r3="silent")},
        Conclusion("silent", (3,)),
    ),
    "this rank was stopped and goes on": (
        {0: lost(7, peer=1, r1="gone", r2="gone", r3="gone"), 1: lost(3, peer=0, r0="silent")},
        Conclusion("silent", (0,)),
    ),
    "a reason of its own": (
        {0: lost(peer=2, r2="gone"), 2: Entry(1, "ended", "disk full")},
        Conclusion("ended", (2,), "disk full"),
    ),
    "this host's network": (
        {0: lost(peer=2, r1="unreachable", r2="unreachable", r3="unreachable")},
        Conclusion("cut off", (0,)),
    ),
    "a link between two who live": (
        {
            0: lost(3, peer=1),
            1: lost(2, peer=2, r2="unreachable"),
            2: lost(2, peer=1, r1="unreachable"),
            3: WAITS,
        },
        Conclusion("link", (1, 2)),
    ),
    "two who wait for each other": (
        {0: lost(peer=1), 1: lost(peer=0), 2: WAITS, 3: WAITS},
        Conclusion("apart", (0, 1)),
    ),
    "one who computes": (
        {0: lost(), 1: WAITS, 2: ALIVE, 3: WAITS},
        Conclusion("late", (2,), "step 3"),
    ),
    "the end of most accusations": (
        {0: lost(peer=1), 1: lost(peer=2), 2: WAITS, 3: lost(peer=2)},
        Conclusion("late", (2,), "step 4"),
    ),
    "nobody knows": ({0: lost(), 1: WAITS, 2: WAITS, 3: WAITS}, Conclusion("unknown")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_one_who_failed_is_found(case: str) -> None:
    roll, verdict = CASES[case]
    assert conclude(0, roll, HOSTS) == verdict


@pytest.mark.parametrize(
    ("has_carrier", "verdict"),
    [(True, Conclusion("unreachable", (1,))), (False, Conclusion("cut off", (0,)))],
)
def test_between_two_hosts_the_cable_tells(has_carrier: bool, verdict: Conclusion) -> None:
    roll = {0: lost(r1="unreachable")}
    assert conclude(0, roll, {0: "10.0.0.1", 1: "10.0.0.2"}, has_carrier) == verdict


def test_of_two_ranks_a_host_those_on_it_still_answer() -> None:
    hosts = {0: "a", 1: "a", 2: "b", 3: "c"}
    roll = {0: lost(r2="unreachable", r3="unreachable"), 1: WAITS}
    assert conclude(0, roll, hosts) == Conclusion("cut off", (0, 1))


def test_who_waited_for_a_waiter_says_so() -> None:
    def name(*ranks: int) -> str:
        return "rank " + " and ".join(map(str, ranks))

    told = describe(Conclusion("gone", (3,)), 0, {0: 1, 1: 2, 2: 3}, name)
    assert told == "rank 3 went away; rank 0 waited for rank 1, which waited for rank 2"
    assert describe(Conclusion("gone", (3,)), 2, {2: 3}, name) == "rank 3 went away"


def test_the_lowest_rank_that_waits_speaks_for_all() -> None:
    roll = {0: ALIVE, 1: WAITS, 2: WAITS, 3: WAITS}
    assert waited_for(1, roll, {3: "silent"}) == (0, 3)
    assert waited_for(2, roll, {}) == ()
    assert waited_for(2, roll, {1: "gone"}) == (0, 1)
