"""A run as a value over its folder, and what `firetree.train` refuses before it starts anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from traces import write_run

import firetree
from firetree.durable import write_json_lines
from firetree.errors import ArgumentError, UserError
from firetree.metrics import Metrics


def evaluated(folder: Path, *accuracies: float) -> firetree.Run:
    write_run(folder, {}, {})
    evaluations = [
        Metrics(
            step=2 * epoch,
            epoch=epoch,
            lr=0.1,
            train_loss=1.0,
            test_loss=1.0,
            accuracy=accuracy,
            samples_per_s=100.0,
        )
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    write_json_lines(folder / "metrics.jsonl", map(asdict, evaluations))
    return firetree.Run(str(folder))


def test_a_run_has_its_accuracy_report_and_trace(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", 0.5, 0.75)
    assert run.accuracy == 0.75
    assert run.report() == firetree.report(run) == firetree.report([run.folder])[0]
    assert run.report().accuracy == 0.75
    assert [rank.header.rank for rank in run.trace().ranks] == [0, 1]
    assert repr(run) == f"Run('{tmp_path / 'run'}')"
    assert all("\n" not in repr(value) for value in (run, run.report(), run.trace()))


def test_before_its_first_evaluation_a_run_has_no_accuracy(tmp_path: Path) -> None:
    assert evaluated(tmp_path / "run").accuracy is None


def test_a_notebook_shows_the_report_and_a_point_an_evaluation(tmp_path: Path) -> None:
    page = evaluated(tmp_path / "<run>", 0.0, 0.5, 1.0)._repr_html_()
    assert "&amp;lt;run&amp;gt;" in page  # in a frame of its own
    assert page.count("<circle") == 3
    assert "100.00% at the end" in page


def test_a_notebook_shows_why_a_run_has_no_report(tmp_path: Path) -> None:
    assert firetree.Run(tmp_path / "none")._repr_html_().startswith("<p>no run folder ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "workers is 0; expected 1 or more"),
        ({"restarts": -1}, "restarts is -1; expected 0 or more"),
        ({"grace_s": -1.0}, "grace_s is -1; expected seconds, 0 or more"),
        ({"resume": True}, "run_dir is missing; expected the folder of the run to resume"),
    ],
)
def test_an_argument_that_cannot_be_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        firetree.train("digits", **arguments)
    assert str(refusal.value) == message


def test_a_rank_that_others_started_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="this process is rank 1 of 2 that others started"):
        firetree.train("digits")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optim.rate": 1}, "no field 'optim.rate'"),
        ({"optim.lr": -1}, "optim.lr = -1.0; expected a number above 0"),
        ({"optim.lr": "fast"}, "optim.lr = 'fast'; expected float"),
    ],
)
def test_a_field_that_cannot_be_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        firetree.train("digits", fields=fields)
