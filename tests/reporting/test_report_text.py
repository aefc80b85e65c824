"""The text of a report: verdict first, then why, what to do and what it brings; 100 columns; hostile names."""

from __future__ import annotations

from pathlib import Path

from command import firetree
from made import MBIT, Cluster

from firetree.commands.text.report import as_text
from firetree.reporting import report
from firetree.trace import Event, add_event


def slow(a: int, b: int, step: int) -> float:
    return (20 if step >= 20 and 3 in (a, b) else 200) * MBIT


def test_the_text_answers_in_the_order_in_which_one_asks(tmp_path: Path) -> None:
    run_dir = Cluster(steps=60, rates=slow, gradient_bytes=1_000_000).write(tmp_path)
    add_event(run_dir, Event("started", 1000.0, 0, "4 ranks"))
    text = as_text([report(run_dir)])
    marks = ["Host dog's port holds", "why   ", "next  ", "      $ firetree run", "gain  "]
    marks += ["rank  host", "steps  algorithm", "way ", "bucket "]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "dog → cat" in text
    assert "200 Mbit/s before step 20" in text


def test_no_line_is_wider_than_a_terminal(tmp_path: Path) -> None:
    run_dir = Cluster(
        ranks=8,
        hosts=[f"machine-{k}.example" for k in range(8)],
        evaluation=lambda rank, step: 1.0 if step % 5 == 0 else 0.0,
        saving=0.01,
        rates=slow,
        steps=60,
    ).write(tmp_path / "r")
    table = as_text([report(run_dir)]).partition("Milliseconds")[2]
    assert max(map(len, table.splitlines())) <= 140
    words = as_text([report(run_dir)]).partition("Milliseconds")[0]
    assert all(len(line) <= 100 for line in words.splitlines()[1:] if "$" not in line)


def test_a_hostile_host_name_steers_no_terminal(tmp_path: Path) -> None:
    path = Cluster(steps=12).write(tmp_path) / "trace" / "rank-0001.jsonl"
    path.write_text(path.read_text().replace('"bee"', '"b\\u202eee"'))
    code, out, err = firetree("report", tmp_path)
    assert code in (0, 2)
    assert "\u202e" not in out + err
