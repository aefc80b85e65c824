"""After a hang or a death the report says who had not arrived, at which bucket and layer, and who waited."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import Cluster

from firetree.reporting import Diagnosis, report
from firetree.trace import Event, OpenBucket, OpenStep, Phase, add_event, write_now

STEPS = 20


def bucket(index: int, *layers: str) -> OpenBucket:
    return OpenBucket(index, 2000.0, None, layers)


FIRST, SECOND = bucket(0, "head", "norm"), bucket(1, "stem")


def stopped(
    run_dir: Path,
    *doing: tuple[Phase, float, tuple[OpenBucket, ...]] | None,
    failed: str = "",
    error: str = "",
) -> Diagnosis:
    """A run whose ranks each do something since so many seconds, in the step after the last."""
    Cluster(ranks=len(doing), steps=STEPS).write(run_dir)
    for rank, it in enumerate(doing):
        if it:
            phase, since_s, buckets = it
            write_now(run_dir, rank, OpenStep(STEPS, 2030.0, phase, 2030.0 - since_s, buckets))
    if failed:
        add_event(run_dir, Event("failed", 2030.0, STEPS, failed, 1, error=error))
    return report(run_dir)


WAITS = ("communication", 29.0, (FIRST, SECOND))


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (
            ("backward", 30.0, (FIRST,)),
            "rank 2 on cat was in its backward pass for 30 s; bucket 1 (stem) lacked its gradients",
        ),
        (
            ("data", 30.0, ()),
            "rank 2 on cat was reading data for 30 s; bucket 0 (head and norm) lacked its gradients",
        ),
        (("evaluation", 40.0, ()), "rank 2 on cat was evaluating for 40 s"),
        (None, "rank 2 on cat was not heard of; bucket 0 (head and norm)"),
        (
            ("communication", 29.0, (FIRST,)),
            "rank 2 on cat was waiting for a sum for 29 s; bucket 1 (stem) lacked its gradients",
        ),
    ],
)
def test_who_had_not_arrived_is_named_with_phase_bucket_and_layers(
    tmp_path: Path, late: tuple[Phase, float, tuple[OpenBucket, ...]] | None, why: str
) -> None:
    found = stopped(tmp_path, WAITS, WAITS, late)
    assert found.verdict.kind == "hang"
    assert found.verdict.culprit.ranks == (2,)
    assert f"The run stands at step {STEPS}: host cat did not arrive" in found.verdict.sentence
    assert found.verdict.why[0].startswith(why)
    assert "hosts ant and bee waited" in found.verdict.why
    assert found.standstill is not None
    assert found.standstill.waiting == (0, 1)


def test_a_rank_that_failed_is_told_with_its_words(tmp_path: Path) -> None:
    found = stopped(tmp_path, WAITS, None, WAITS, failed="rank 1 on bee went away")
    assert (found.verdict.kind, found.verdict.culprit.hosts) == ("death", ("bee",))
    assert found.verdict.sentence == f"The run ended at step {STEPS}: host bee did not arrive."
    assert "what failed: rank 1 on bee went away" in found.verdict.why


def test_a_step_that_only_takes_a_little_longer_is_no_hang(tmp_path: Path) -> None:
    short = ("communication", 3.0, (FIRST,))
    assert stopped(tmp_path, short, short, ("data", 3.0, ())).standstill is None


def test_what_a_rank_did_before_its_last_steps_is_no_hang(tmp_path: Path) -> None:
    Cluster(ranks=2, steps=STEPS).write(tmp_path)
    write_now(tmp_path, 1, OpenStep(STEPS - 5, 2030.0, "data", 1900.0))
    assert report(tmp_path).standstill is None


def test_a_run_that_was_started_again_has_not_failed(tmp_path: Path) -> None:
    Cluster(ranks=2, steps=STEPS).write(tmp_path)
    for kind in ("started", "failed", "started", "ended"):
        add_event(tmp_path, Event(kind, 2000.0, 5, kind, 1 if kind == "failed" else None))  # type: ignore[arg-type]
    found = report(tmp_path)
    assert found.standstill is None
    assert found.verdict.kind == "compute"


def test_a_rank_that_raised_is_told_with_its_error_and_whoever_waited_for_it_is_not(
    tmp_path: Path,
) -> None:
    told = {
        "failed": "rank 1 on bea failed at step 20: ValueError: odd",
        "error": "ValueError: odd",
    }
    raised = stopped(tmp_path / "raised", WAITS, ("forward", 1.0, ()), WAITS, **told).verdict
    assert raised.kind == "death"
    assert raised.culprit.ranks == (1,)
    assert raised.sentence.endswith(" failed: ValueError: odd.")
    assert raised.command == "", "its output says where; the kernel's log does not"
    # Rank 1 waited, and its error is what it saw of rank 2's end.
    symptom = stopped(tmp_path / "symptom", WAITS, WAITS, ("forward", 9.0, ()), **told).verdict
    assert symptom.culprit.ranks == (2,)
    assert "ValueError" not in symptom.sentence
