"""A trace looked at while it is written: what is whole is told, once; what is half written comes later."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import died, made, slow_host, write_trace

from firetree.errors import UserError
from firetree.trace import (
    GrowingTrace,
    append_steps,
    begin_trace,
    read_trace,
    write_now,
)

STEPS = 6
MANY = 1000


def test_a_trace_that_is_whole_is_told_as_it_is_read(tmp_path: Path) -> None:
    write_trace(tmp_path, died(STEPS)[1])
    growing = GrowingTrace(tmp_path, MANY)
    assert growing.look() == read_trace(tmp_path) == growing.look()


@pytest.mark.parametrize("name", ["run", "trace-v2", "trace-v3"])
def test_a_trace_of_every_version_is_told_as_it_is_read(name: str) -> None:
    kept = Path(__file__).parent / "golden" / name
    assert GrowingTrace(kept, MANY).look() == read_trace(kept)


@settings(max_examples=10)
@given(st.lists(st.floats(0, 1), max_size=6).map(sorted))
def test_lines_that_are_cut_anywhere_come_whole_later(cuts: list[float]) -> None:
    with TemporaryDirectory() as ours, TemporaryDirectory() as theirs:
        whole = write_trace(Path(theirs), made(slow_host(STEPS)))
        growing = GrowingTrace(Path(ours), MANY)
        (Path(ours) / "trace").mkdir()
        for cut in [*cuts, 1.0]:
            for path in (whole / "trace").iterdir():
                content = path.read_bytes()
                with (Path(ours) / "trace" / path.name).open("ab") as file:
                    file.write(content[file.tell() : round(cut * len(content))])
            told = growing.look()
        assert told == read_trace(whole)


def test_nothing_is_told_until_every_rank_has_begun(tmp_path: Path) -> None:
    growing = GrowingTrace(tmp_path, MANY)
    assert growing.look() is None
    trace = made(slow_host(STEPS))
    for rank in trace.ranks:
        assert growing.look() is None
        begin_trace(tmp_path, rank.header, 0)
    assert growing.look() is not None


def test_only_the_newest_steps_are_kept(tmp_path: Path) -> None:
    write_trace(tmp_path, made(slow_host(STEPS)))
    told = GrowingTrace(tmp_path, 2).look()
    assert told
    assert [[step.step for step in rank.steps] for rank in told.ranks] == [[4, 5]] * 4


def test_a_file_that_is_begun_anew_is_read_anew(tmp_path: Path) -> None:
    trace = made(slow_host(STEPS))
    write_trace(tmp_path, trace)
    growing = GrowingTrace(tmp_path, MANY)
    growing.look()
    rank = trace.ranks[1]
    begin_trace(tmp_path, rank.header, 3)  # as where a run is resumed from step 3
    append_steps(tmp_path, 1, rank.steps[3:5])
    told = growing.look()
    assert told
    assert told.ranks[1].steps == rank.steps[:5]
    assert told.ranks[0].steps == trace.ranks[0].steps


def test_where_a_rank_is_now_is_told_until_the_step_is_over(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, died(STEPS)[1])
    growing = GrowingTrace(trace, MANY)
    told = growing.look()
    assert told
    assert told.ranks[2].now
    assert told.ranks[2].now.phase == "forward"
    write_now(trace, 2, None)
    told = growing.look()
    assert told
    assert told.ranks[2].now is None


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    write_trace(tmp_path, made(slow_host(STEPS)))
    with (tmp_path / "trace" / "rank-0002.jsonl").open("a") as file:
        file.write('{"step": "nine"}\n')
    with pytest.raises(UserError, match=r"rank-0002\.jsonl: line 8"):
        GrowingTrace(tmp_path, MANY).look()
