"""What ranks measure reaches rank 0's folder, also when one of them dies, hangs or cannot send."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from firetree.errors import CollectiveError, UserError
from firetree.observing import collector, sending, telemetry
from firetree.observing.board import Board
from firetree.observing.messages import line_of
from firetree.observing.script_folder import open_script_folder
from firetree.observing.telemetry import Telemetry, open_telemetry
from firetree.trace import OpenStep, StepTrace, TraceHeader, as_json, read_trace
from firetree.wires.secret import VARIABLE, Secret, new_secret
from firetree.wires.wire import TlsWire

ABOUT = {"command": ["train.py"], "sync": "observe"}


def header(rank: int, world_size: int) -> TraceHeader:
    return TraceHeader(rank, world_size, "gloo", "kernel", 40, None, host=f"host-{'abc'[rank]}")


def step(number: int, start_s: float = 0.0, forward_s: float = 0.01, samples: int = 8) -> StepTrace:
    return StepTrace(number, start_s, 0.0, forward_s, 0.02, 0.0, samples, 40, ())


def opened(run_dir: Path, world_size: int = 3) -> list[Telemetry]:
    """The telemetry of so many ranks, which are threads here; connections and collector are real."""
    barrier, told = threading.Barrier(world_size), [None] * world_size

    def on(rank: int) -> Telemetry:
        def gather(mine: object) -> list[object]:
            told[rank] = mine
            barrier.wait(20)
            everyone = json.loads(json.dumps(told))
            barrier.wait(20)
            return everyone

        return open_telemetry(run_dir, header(rank, world_size), ABOUT, gather)

    with ThreadPoolExecutor(world_size) as threads:
        return [*threads.map(on, range(world_size))]


def close(*ranks: Telemetry) -> None:
    """Close all at once, as ranks do, and wait until all is written."""
    with ThreadPoolExecutor(len(ranks)) as threads:
        for done in [threads.submit(rank.close) for rank in ranks]:
            done.result()
    for rank in ranks:
        if rank._collector:
            rank._collector.wait(30)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason to fail."""
    monkeypatch.setattr(sending, "CLOSE_S", 30.0)


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_steps_and_events_of_all_ranks_are_in_the_folder(tmp_path: Path) -> None:
    ranks = opened(tmp_path / "run")
    for number in range(50):
        for rank in ranks:
            rank.add(step(number, samples=number))
    ranks[2].tell("planned", 50, "ring, which\nis best")
    close(*ranks)
    trace = read_trace(tmp_path / "run")
    for rank, found in enumerate(trace.ranks):
        assert found.header == header(rank, 3)
        assert [(it.step, it.samples) for it in found.steps] == [(k, k) for k in range(50)]
        assert found.now is None
    events = [(it.kind, it.rank, it.text) for it in trace.events]
    assert events == [
        ("started", None, "3 ranks"),
        ("planned", 2, "ring, which\\x0ais best"),
        ("ended", None, "all ranks ended"),
    ]
    assert json.loads((tmp_path / "run/script.json").read_text()) == ABOUT
    assert json.loads((tmp_path / "run/environment.json").read_text())["world_size"] == 3


def test_moments_are_on_rank_0s_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = opened(tmp_path / "run", 2)
    moment_s = time.monotonic()
    ranks[1]._clock.offset_s = 1000.0  # as if its clock were behind; no better answer comes
    monkeypatch.setattr(ranks[1]._clock, "hear", lambda *_: None)
    ranks[1].add(step(0, start_s=moment_s - 1000.0))
    ranks[0].add(step(0, start_s=moment_s))
    close(*ranks)
    starts_s = [it.steps[0].start_s for it in read_trace(tmp_path / "run").ranks]
    assert starts_s == pytest.approx([moment_s, moment_s], abs=1e-6)


def test_a_rank_that_goes_away_is_named_with_its_step(tmp_path: Path) -> None:
    ranks = opened(tmp_path / "run")
    for rank in ranks:
        rank.add(step(56))
    until(lambda: all(it.steps for it in read_trace(tmp_path / "run").ranks))
    ranks[1].leave()
    until(lambda: len(read_trace(tmp_path / "run").events) == 2)
    ranks[0].add(step(57))
    ranks[2].add(step(57))
    close(ranks[0], ranks[2])
    trace = read_trace(tmp_path / "run")
    assert [len(it.steps) for it in trace.ranks] == [2, 1, 2]
    (failed,) = (it for it in trace.events if it.kind == "failed")
    assert (failed.rank, failed.step) == (1, 57)
    assert failed.text == "rank 1 on host-b went away at step 57"
    assert trace.events[-1] == failed


def test_rank_0s_death_ends_neither_the_trace_nor_the_others(tmp_path: Path) -> None:
    ranks = opened(tmp_path / "run")
    ranks[0].leave()
    until(lambda: len(read_trace(tmp_path / "run").events) == 2)
    ranks[1].add(step(1))
    close(ranks[1], ranks[2])
    until(lambda: bool(read_trace(tmp_path / "run").ranks[1].steps))
    assert read_trace(tmp_path / "run").events[1].text == "rank 0 on host-a went away at step 0"


def test_a_step_that_takes_long_is_told_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LONG_S", 0.3)
    monkeypatch.setattr(sending, "EVERY_S", 0.1)
    (rank,) = opened(tmp_path / "run", 1)
    place = OpenStep(1, time.monotonic(), "communication", time.monotonic())
    rank.now = lambda: place
    rank.add(step(0))
    assert read_trace(tmp_path / "run").ranks[0].now is None
    until(lambda: read_trace(tmp_path / "run").ranks[0].now == place)
    rank.add(step(1))
    until(lambda: read_trace(tmp_path / "run").ranks[0].now is None)
    rank.close()


def test_a_step_is_long_beside_the_usual_ones_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LONG_S", 0.1)
    monkeypatch.setattr(sending, "EVERY_S", 0.1)
    (rank,) = opened(tmp_path / "run", 1)
    asked: list[int] = []
    for number in range(3):
        rank.add(step(number, forward_s=1e3))
    until(lambda: len(rank._usual_s) == 3)
    rank.now = lambda: asked.append(1)  # type: ignore[func-returns-value]
    time.sleep(1)
    assert not asked
    rank.close()


def test_a_rank_that_fails_says_why_and_where_it_was(tmp_path: Path) -> None:
    (rank,) = opened(tmp_path / "run", 1)
    place = OpenStep(3, time.monotonic(), "backward", time.monotonic())
    rank.now = lambda: place
    rank.add(step(2))
    rank.close("ValueError: a value\nof two lines")
    trace = read_trace(tmp_path / "run")
    assert trace.ranks[0].now == place
    assert [it.kind for it in trace.events] == ["started", "failed"]
    text = "rank 0 on host-a failed at step 3: ValueError: a value\\x0aof two lines"
    assert (trace.events[1].text, trace.events[1].rank) == (text, 0)


def test_a_folder_that_holds_a_run_is_refused_on_all_ranks_and_kept(tmp_path: Path) -> None:
    close(*opened(tmp_path / "run", 2))
    before = {it: it.read_bytes() for it in (tmp_path / "run").rglob("*.json*")}
    with pytest.raises(UserError, match="holds a run already; choose another"):
        opened(tmp_path / "run", 2)
    assert {it: it.read_bytes() for it in (tmp_path / "run").rglob("*.json*")} == before


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (rank,) = opened(tmp_path / "run", 1)
    for sign in ("script.json", "environment.json"):
        (tmp_path / "run" / sign).unlink()
    (tmp_path / "run/trace").rename(tmp_path / "aside")
    with pytest.raises(UserError, match="is in use by another process"):
        opened(tmp_path / "run", 1)
    (tmp_path / "aside").rename(tmp_path / "run/trace")
    rank.close()


def test_where_the_folder_cannot_be_written_training_goes_on_and_rank_0_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ranks = opened(tmp_path / "run", 2)
    (tmp_path / "run/trace").rename(tmp_path / "away")
    for rank in ranks:
        rank.add(step(0))
    until(lambda: all(it._is_gone for it in ranks))
    for rank in ranks:
        rank.add(step(1))
        rank.close()
    (said,) = caplog.messages
    assert "the trace of rank 0 ends here, and training goes on" in said
    assert "No such file" in said


def test_a_rank_says_once_that_the_collector_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (rank,) = opened(tmp_path / "run", 1)
    assert rank._collector
    rank._collector.kill()
    until(lambda: rank._is_gone)
    rank.add(step(0))
    rank.close()
    (said,) = caplog.messages
    assert "the trace of rank 0 ends here, and training goes on: the connection" in said


@contextmanager
def collecting(run_dir: Path) -> Iterator[socket.socket]:
    """A collector in this process, and the only rank's connection to it."""
    headers = (header(0, 1),)
    os.close(open_script_folder(run_dir, headers, ABOUT)[0])
    with socket.create_server(("127.0.0.1", 0)) as server:
        rank = socket.create_connection(server.getsockname())
        stream, _ = server.accept()
    writing = threading.Thread(
        target=collector.Collector(run_dir, headers, {0: stream}, Board(run_dir)).run
    )
    writing.start()
    with rank:
        yield rank
    writing.join()


def test_a_rank_that_is_silent_is_told_and_its_return_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "SILENT_S", 0.2)
    monkeypatch.setattr(collector, "WRITE_EVERY_S", 0.1)
    with collecting(tmp_path / "run") as rank:
        rank.sendall(line_of(step=6, line=as_json(step(6))))
        until(lambda: len(read_trace(tmp_path / "run").events) == 2)
        rank.sendall(line_of(step=7, line=as_json(step(7))))
        until(lambda: len(read_trace(tmp_path / "run").events) == 3)
        rank.sendall(line_of(goodbye=True))
    _, silent, back, *_ = read_trace(tmp_path / "run").events
    assert {silent.kind, back.kind} == {"waiting"}
    assert silent.text == (
        "rank 0 on host-a says nothing for 0 s: it is stopped, stuck or cut off, at step 7"
    )
    assert back.text.startswith("rank 0 on host-a is back after 0 s")


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"step": -1}\n',
        b'{"event": {"kind": "failed", "at_s": 0, "step": 0, "text": "\\u001b[2J"}}\n',
        b"[" * 5000 + b"\n",
        b"\xff\n",
        b'{"asked_s": NaN}\n',
    ],
)
def test_what_is_no_trace_is_refused_and_named(tmp_path: Path, line: bytes) -> None:
    with collecting(tmp_path / "run") as rank:
        rank.sendall(line_of(step=0, line=as_json(step(0))) + line)
        assert rank.recv(1) == b""
    trace = read_trace(tmp_path / "run")
    assert [it.kind for it in trace.events] == ["started", "failed"]
    assert "rank 0 on host-a sent what is no trace, a message" in trace.events[1].text
    assert len(trace.ranks[0].steps) == 1


def test_with_a_secret_the_way_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_secret(tmp_path / "secret")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "secret"))
    ranks = opened(tmp_path / "run", 2)
    assert all(isinstance(it._wire, TlsWire) for it in ranks)
    for number in range(800):
        ranks[1].add(step(number))
    close(*ranks)
    assert len(read_trace(tmp_path / "run").ranks[1].steps) == 800


def test_a_rank_without_the_secret_is_not_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_secret(tmp_path / "secret")
    given = iter([Secret(tmp_path / "secret"), None])
    monkeypatch.setattr(telemetry, "_MEET_S", 2.0)
    monkeypatch.setattr(telemetry, "given_secret", lambda: next(given))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "secret"))
    with pytest.raises(CollectiveError, match="cannot reach"):
        opened(tmp_path / "run", 2)


KILLED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from test_telemetry import opened, step
from pathlib import Path
rank, = opened(Path(sys.argv[1]), 1)
rank.add(step(8))
if sys.argv[3] == "fork":
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
    rank.add(step(9))
    sys.exit()
time.sleep(1.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("how", "code"), [("kill", -signal.SIGKILL), ("fork", 0)])
def test_the_collector_outlives_a_killed_rank_and_ends_by_itself(
    tmp_path: Path, how: str, code: int
) -> None:
    run_dir = tmp_path / "run"
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, run_dir, here, how], timeout=60)
    assert done.returncode == code
    until(lambda: len(read_trace(run_dir).events) == 2)
    assert read_trace(run_dir).events[1].text.startswith("rank 0 on host-a went away at step")
    until(lambda: not is_locked(run_dir))


def is_locked(folder: Path) -> bool:
    with open_folder(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_the_collector_does_without_torch() -> None:
    script = "import sys, firetree.observing.collector; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
