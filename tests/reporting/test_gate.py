"""`report A B --fail-if step_s+5%`: the second run may be worse than the first by so much, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import firetree
from made import Cluster

from firetree.errors import ArgumentError
from firetree.reporting import Diagnosis, report
from firetree.reporting.gate import breaches, parse_limit


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Diagnosis, Diagnosis]:
    """A run, and one whose steps take a tenth longer as it reads data."""
    usual = report(Cluster(steps=20).write(tmp_path / "usual"))
    data_s = 0.002 + usual.step_s / 10
    return usual, report(Cluster(steps=20, data=data_s).write(tmp_path / "slower"))


@pytest.mark.parametrize(
    ("limit", "fails"),
    [
        ("step_s+5%", True),
        ("step_s+9.9%", True),
        ("step_s+10.1%", False),
        ("step_s + 5 %", True),
        ("p95_s+5%", True),
        ("samples_per_s-5%", True),
        ("samples_per_s-10%", False),
        ("samples_per_s+5%", False),
        ("data_s+50%", True),
        ("evaluation_s+0%", False),
        ("step_s-0%", False),
    ],
)
def test_a_limit_is_kept_or_not(pair: tuple[Diagnosis, Diagnosis], limit: str, fails: bool) -> None:
    assert bool(breaches([parse_limit(limit)], *pair)) == fails


def test_a_run_is_no_worse_than_itself(pair: tuple[Diagnosis, Diagnosis]) -> None:
    assert breaches([parse_limit("step_s+0%"), parse_limit("data_s-0%")], *2 * pair[:1]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step_s", "is 'step_s'; expected a field, \\+ or -, and percents, as in step_s\\+5%"),
        ("step_s+5", "expected a field"),
        ("step_s>5%", "expected a field"),
        ("step_s+-5%", "expected a field"),
        ("stp_s+5%", "names no field 'stp_s'; did you mean 'step_s'?"),
        ("", "expected a field"),
    ],
)
def test_a_text_that_is_no_limit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse_limit(text)


def test_a_field_that_was_not_measured_is_named(pair: tuple[Diagnosis, Diagnosis]) -> None:
    with pytest.raises(ArgumentError, match=r"compares accuracy, which .* did not measure"):
        breaches([parse_limit("accuracy-1%")], *pair)


def test_the_command_ends_with_code_1_and_one_line(pair: tuple[Diagnosis, Diagnosis]) -> None:
    runs = [found.run for found in pair]
    code, out, err = firetree("report", *runs, "--fail-if", "step_s+5%")
    assert code == 1
    assert err.count("\n") == 1
    assert "10.0% more than" in err
    assert "5% is allowed" in err
    assert len(out.splitlines()) == 3
    assert firetree("report", *runs, "--fail-if", "step_s+20%")[0] == 0
    code, _, err = firetree("report", runs[0], "--fail-if", "step_s+20%")
    assert (code, err) == (
        2,
        "firetree: --fail-if with 1 run; expected two, the one to compare with first\n",
    )
