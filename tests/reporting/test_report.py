"""Hand-made traces, whose answer can be worked out on paper, and what the report makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from command import firetree
from traces import STEPS, step, write_run

from firetree.commands.text.report import as_text
from firetree.errors import UserError
from firetree.reporting import report
from firetree.trace import TraceHeader, append_steps, begin_trace


def test_the_parts_of_a_step_are_told_apart_and_add_up(tmp_path: Path) -> None:
    # Rank 1 computes 0.3 s longer, and both buckets end together: rank 0 waits 0.3 s for rank 1.
    slow = {"compute_s": 1.3, "communication_s": 0.2, "sent_bytes": 3000}
    found = report(write_run(tmp_path, {}, slow))
    assert found.parts.data_s == pytest.approx(0.1)
    assert found.parts.compute_s == pytest.approx((1.0 + 1.3) / 2)
    assert found.parts.others_wait_s == pytest.approx((0.3 + 0.0) / 2)
    assert found.parts.network_wait_s == pytest.approx(0.2)
    assert found.parts.step_s == found.step_s == pytest.approx(1.6)
    assert found.samples_per_s == pytest.approx(16 / 1.6)
    assert (found.busiest_rank, found.busiest_rank_sent_bytes) == (1, 3000)


@pytest.mark.parametrize(
    ("ranks", "kind", "sentence"),
    [
        ([{}, {}], "compute", "The work itself is the limit: workers compute for 62% of a step"),
        ([{"data_wait_s": 4.0}] * 2, "data", "Reading data holds the run back: it takes 73%"),
        (
            [{"communication_s": 4.0}] * 2,
            "network",
            "The network holds the run back: workers wait for it 78% of a step",
        ),
        (
            [{"communication_s": 9.0}] * 3 + [{"compute_s": 9.8, "communication_s": 0.2}],
            "slow_host",
            "Host 3 computes 9.8 s a step where the others take 1 s, and holds the run back",
        ),
        (
            [{"data_wait_s": 5.0}, {"communication_s": 5.4}],
            "data",
            "Reading data on host 0 holds the run back: it takes 5 s a step where the others",
        ),
    ],
)
def test_one_sentence_names_what_holds_the_run_back(
    tmp_path: Path, ranks: list[dict[str, float]], kind: str, sentence: str
) -> None:
    verdict = report(write_run(tmp_path, *ranks)).verdict
    assert verdict.kind == kind
    assert verdict.sentence.startswith(sentence)


def test_json_has_all_of_the_diagnosis(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, {}, {})
    document = json.loads(firetree("report", run_dir, "--json")[1])
    assert document == json.loads(json.dumps(asdict(report(run_dir))))
    assert document["verdict"]["kind"] == "compute"


def test_steps_that_not_all_ranks_recorded_are_left_out(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, {}, {})
    append_steps(run_dir, 0, [step(STEPS)])
    assert report(run_dir).steps == STEPS


def test_a_line_cut_off_by_a_sudden_death_is_left_out(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, {}, {})
    path = run_dir / "trace" / "rank-0001.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert report(run_dir).steps == STEPS - 1


def test_a_resumed_run_forgets_the_steps_that_are_done_again(tmp_path: Path) -> None:
    header = TraceHeader(0, 1, "ring", "executor", 500, 0.0)
    run_dir = write_run(tmp_path, {})
    begin_trace(run_dir, TraceHeader(0, 1, "ring", "executor", 500, 1000.0), first_step=2)
    assert report(run_dir).steps == 2
    begin_trace(run_dir, header, first_step=2)
    append_steps(run_dir, 0, [step(2)])
    assert report(run_dir).steps == 1, "a trace of another kind of run is not mixed in"


def test_a_run_that_goes_on_by_a_new_plan_keeps_its_steps(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, {})
    begin_trace(run_dir, TraceHeader(0, 1, "grown", "executor", 500, None), first_step=0)
    append_steps(run_dir, 0, map(step, range(3)))
    begin_trace(run_dir, TraceHeader(0, 1, "chain", "kernel", 500, None), first_step=2)
    assert report(run_dir).steps == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no trace in"),
        ('{"version": 99}\n', r"rank-0000.jsonl: line 1 is of version 99; expected 3"),
        ('{"version": 1, "rank": 0}\n', "line 1 lacks the field 'world_size'"),
        ("", "rank-0000.jsonl is empty; expected a trace of version 3"),
        ("[]\n", r"line 1: \[\]; expected a table"),
    ],
)
def test_a_folder_without_a_readable_trace_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "trace").mkdir()
        (tmp_path / "trace" / "rank-0000.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        report(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"start_s": "x"}, "rank-0001.jsonl: line 3: start_s = 'x'; expected float"),
        ({"buckets": None}, "line 3: buckets = None; expected a list"),
        ({"buckets": [{"index": 0}]}, r"line 3 lacks the field 'buckets\[0\].size_bytes'"),
        ({"samples": -1}, "line 3: samples = -1; expected 0 or more"),
        ({"step": 0}, "line 3 has step 0 after 0; expected a later one"),
    ],
)
def test_a_field_of_another_type_is_named_by_file_and_line(
    tmp_path: Path, line: dict[str, object], message: str
) -> None:
    path = write_run(tmp_path, {}, {}) / "trace" / "rank-0001.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    lines[2] |= line
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(UserError, match=message):
        report(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": 1}\n', r"metrics.jsonl: line 1 lacks the field 'test_loss'"),
        ('{"a": 1}\n', r"metrics.jsonl: line 1 has no field 'a'"),
        ("\xff\n", r"metrics.jsonl: line 1 is not JSON"),
    ],
)
def test_a_line_that_is_no_evaluation_is_named(tmp_path: Path, text: str, message: str) -> None:
    (write_run(tmp_path, {}) / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        report(tmp_path)


def test_a_run_has_the_traces_of_all_its_ranks(tmp_path: Path) -> None:
    last = write_run(tmp_path, {}, {}, {}) / "trace" / "rank-0002.jsonl"
    text = last.read_text()
    last.write_text(text.replace('"world_size": 3', '"world_size": 4'))
    with pytest.raises(UserError, match=r"rank-0002.jsonl is of rank 2 of 4; expected rank 2 of 3"):
        report(tmp_path)
    last.unlink()
    with pytest.raises(UserError, match="has traces of 2 ranks; expected 3"):
        report(tmp_path)


def test_several_runs_make_a_table_with_a_row_each(tmp_path: Path) -> None:
    runs = report([write_run(tmp_path / name, {}, {}) for name in ("one", "two")])
    heading, *rows = as_text(runs).splitlines()
    assert heading.split()[:2] == ["algorithm", "workers"]
    assert [row.split()[-1] for row in rows] == [str(tmp_path / "one"), str(tmp_path / "two")]
