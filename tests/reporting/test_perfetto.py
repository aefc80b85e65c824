"""A trace as Chrome's trace events: by the rules of the format, whatever the trace."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import died, healthy, made, slow_host

from firetree.reporting.perfetto import chrome_events, to_chrome_json
from firetree.trace import (
    BucketSpan,
    ConnectionSpan,
    PhaseSpan,
    RankTrace,
    StepTrace,
    Trace,
    TransferSpan,
    read_trace,
)
from firetree.wires.tcp_info import TcpInfo

GOLDEN = Path(__file__).parents[1] / "golden"
NAMING = {
    "process_name": ("name", str),
    "process_labels": ("labels", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}


def check_format(text: str) -> list[dict[str, Any]]:
    """The events of a file, once it is known to keep the rules of the format."""
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["displayTimeUnit"] == "ms"
    events: list[dict[str, Any]] = document["traceEvents"]
    for event in events:
        _check_event(event)
    _check_order(events)
    return events


def _check_event(event: dict[str, Any]) -> None:
    assert isinstance(event["name"], str)
    assert event["name"]
    for key in ("pid", "tid", "ts"):
        assert type(event[key]) is int
        assert event[key] >= 0
    match event["ph"]:
        case "M":
            key, kind = NAMING[event["name"]]
            assert [*event["args"]] == [key]
            assert type(event["args"][key]) is kind
        case "X":
            assert type(event["dur"]) is int
            assert event["dur"] >= 0
        case "C":
            assert all(
                type(it) in (int, float) and math.isfinite(it) for it in event["args"].values()
            )
        case "i":
            assert event["s"] in ("g", "p", "t")
        case other:
            assert other == "B"


def _check_order(events: Iterable[dict[str, Any]]) -> None:
    """Tracks have names and are in order of time; their slices lie within each other or apart."""
    named: set[tuple[int, int]] = set()
    processes: set[int] = set()
    tracks = defaultdict[tuple[int, int], list[dict[str, Any]]](list)
    for event in events:
        track = event["pid"], event["tid"]
        if event["name"] == "thread_name":
            named.add(track)
        elif event["name"] == "process_name":
            processes.add(event["pid"])
        elif event["ph"] in "XB":
            tracks[track].append(event)
    assert {pid for pid, _ in tracks} <= processes
    assert set(tracks) <= named
    for found in tracks.values():
        _check_nesting(found)


def _check_nesting(track: list[dict[str, Any]]) -> None:
    ends: list[float] = []
    before = 0
    for event in track:
        start = event["ts"]
        assert start >= before
        before = start
        while ends and ends[-1] <= start:
            ends.pop()
        end = start + event["dur"] if event["ph"] == "X" else math.inf
        assert not ends or end <= ends[-1]
        ends.append(end)


def named(events: Iterable[dict[str, Any]], what: str) -> list[str]:
    return [event["args"]["name"] for event in events if event["name"] == what]


@pytest.mark.parametrize("scene", [healthy(40), slow_host(60)])
def test_a_run_keeps_the_rules_of_the_format(scene: Any) -> None:
    check_format(to_chrome_json(made(scene)))


@pytest.mark.parametrize("run", ["run", "trace-v2"])
def test_older_traces_can_be_opened_too(run: str) -> None:
    events = check_format(to_chrome_json(read_trace(GOLDEN / run)))
    assert {event["name"] for event in events} >= {"step 0", "forward", "backward"}


def test_ranks_are_processes_named_by_host_with_a_track_for_each_peer() -> None:
    events = check_format(to_chrome_json(made(slow_host(20))))
    assert named(events, "process_name") == [
        "rank 0 on ada",
        "rank 1 on bea",
        "rank 2 on carl",
        "rank 3 on dora",
    ]
    tracks = named((e for e in events if e["pid"] == 1), "thread_name")
    assert tracks == ["steps", "buckets", "from rank 0 on ada", "to rank 2 on carl"]


def test_slices_have_their_length_on_one_clock_and_their_bytes() -> None:
    trace = made(slow_host(20))
    bucket = trace.ranks[2].steps[7].buckets[3]
    first_s = min(rank.steps[0].start_s for rank in trace.ranks)
    (slice_,) = (
        event
        for event in chrome_events(trace)
        if event["pid"] == 2
        and event.get("cat") == "bucket"
        and event["ts"] == round((bucket.start_s - first_s) * 1e6)
    )
    assert slice_["ts"] + slice_["dur"] == round((bucket.end_s - first_s) * 1e6)
    assert slice_["args"]["size_bytes"] == bucket.size_bytes
    assert slice_["args"]["layers"] == bucket.layers


def test_events_are_instants_of_the_run_or_of_a_rank() -> None:
    events = check_format(to_chrome_json(made(slow_host(60))))
    told = {event["name"]: (event["s"], event["pid"]) for event in events if event["ph"] == "i"}
    assert told["started: 4 ranks on 4 hosts"] == ("g", 0)
    assert told["slower: dora sends 94 Mbit/s, 940 expected"] == ("p", 3)


def test_counters_tell_the_rate_of_each_link_while_it_is_busy() -> None:
    events = check_format(to_chrome_json(made(slow_host(60))))
    rates = [
        event["args"]["value"]
        for event in events
        if event["ph"] == "C" and event["pid"] == 3 and event["name"] == "to rank 0, Mbit/s"
    ]
    assert rates[0] == pytest.approx(940, rel=0.01)
    assert rates[-1] == pytest.approx(94, rel=0.01)


def test_a_connection_of_gloo_is_known_by_the_rank_at_its_other_end() -> None:
    ours, theirs = "10.0.0.1:4000", "10.0.0.2:5000"
    tcp = TcpInfo(acked_bytes=125_000, busy_s=0.01)
    trace = made(healthy(1))
    spans = {
        0: (ConnectionSpan(ours, theirs, 100.0, 100.1, tcp),),
        1: (ConnectionSpan(theirs, ours, 100.0, 100.1, TcpInfo()),),
    }
    ranks = tuple(
        RankTrace(
            rank.header,
            (replace(rank.steps[0], connections=spans.get(rank.header.rank, ()), wires=()),),
        )
        for rank in trace.ranks
    )
    counters = {
        e["name"]: e["args"]["value"] for e in chrome_events(Trace(ranks)) if e["ph"] == "C"
    }
    assert counters["to rank 1, Mbit/s"] == pytest.approx(100)


def test_what_a_rank_was_in_when_the_run_died_has_begun_and_not_ended() -> None:
    _, trace = died()
    events = check_format(to_chrome_json(trace))
    opened = [(e["pid"], e["name"]) for e in events if e["ph"] == "B"]
    assert opened[4:6] == [(2, "step 90"), (2, "forward")]
    assert (0, "waiting for sums") in opened


MOMENTS = st.integers(0, 4000).map(lambda it: it / 1000)


@st.composite
def odd_traces(draw: st.DrawFn) -> Trace:
    """Spans that overlap, lie outside of their steps, or have no length."""

    def span() -> tuple[float, float]:
        start_s, length_s = draw(MOMENTS), draw(MOMENTS)
        return start_s, start_s + length_s

    def bucket(index: int) -> BucketSpan:
        start_s, end_s = span()
        transfers = tuple(
            TransferSpan(1, "send", k, 10, *span()) for k in range(draw(st.integers(0, 3)))
        )
        return BucketSpan(index, 10, start_s, start_s, end_s, transfers)

    steps = []
    at_s = 0.0
    for number in range(draw(st.integers(0, 4))):
        phases = tuple(PhaseSpan("forward", *span()) for _ in range(draw(st.integers(0, 3))))
        buckets = tuple(map(bucket, range(draw(st.integers(0, 3)))))
        steps.append(
            StepTrace(number, at_s, draw(MOMENTS), 0.5, 0.5, 0.0, 1, 1, buckets, phases=phases)
        )
        at_s += draw(MOMENTS)
    header = made(healthy(1)).ranks[0].header
    return Trace((RankTrace(header, tuple(steps)),))


@given(odd_traces())
def test_slices_of_a_track_are_nested_whatever_was_recorded(trace: Trace) -> None:
    check_format(to_chrome_json(trace))


def test_names_from_outside_stay_text() -> None:
    host = '</script><b>"\\ \u05d0'
    trace = made(healthy(2))
    rank = trace.ranks[0]
    renamed = replace(rank, header=replace(rank.header, host=host))
    events = check_format(to_chrome_json(replace(trace, ranks=(renamed, *trace.ranks[1:]))))
    assert named(events, "process_name")[0] == f"rank 0 on {host}"
