"""Time to accuracy: what a way stands for, and what the folder of a run says about its way there."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from firetree.bench.accuracy import AccuracyRun, read_run, time_to_accuracy, way_fields
from firetree.commands.text.bench import accuracy_cells
from firetree.durable import write_json_lines
from firetree.errors import RunFailedError, UserError
from firetree.metrics import Metrics, metrics_file
from firetree.trace import StepTrace, TraceHeader, append_steps, begin_trace
from firetree.training import load_recipe, recipe_toml


@pytest.mark.parametrize(
    ("way", "plan", "fields"),
    [
        ("gloo", None, {"sync.algorithm": "gloo"}),
        ("plan", "auto", {}),
        ("plan+int8", "auto", {"sync.compression": "int8"}),
        ("ring+topk:0.01", None, {"sync.algorithm": "ring", "sync.compression": "topk:0.01"}),
        ("gloo+local:16", None, {"sync.algorithm": "gloo", "sync.local_steps": 16}),
        (
            "gloo+diloco:32+fp16",
            None,
            {
                "sync.algorithm": "gloo",
                "sync.local_steps": 32,
                "sync.outer_lr": 0.7,
                "sync.outer_momentum": 0.9,
                "sync.compression": "fp16",
            },
        ),
        (
            "ring+local:64+fragments:4+e3m0",
            None,
            {
                "sync.algorithm": "ring",
                "sync.local_steps": 64,
                "sync.fragments": 4,
                "sync.compression": "e3m0",
            },
        ),
    ],
)
def test_a_way_is_a_plan_and_fields(way: str, plan: str | None, fields: dict[str, object]) -> None:
    assert way_fields(way) == (plan, fields)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("rings", "no algorithm 'rings'"),
        ("ring+int9", "no compression 'int9'"),
        ("ring+local", "way 'ring.local'; expected a number of steps, as in local:16"),
        ("ring+local:0", "expected a number of steps"),
        ("gloo+powersgd:4+local:16", "expected powersgd or local steps"),
        ("gloo+local:16+demo", "expected demo or local steps"),
        ("ring+diloco:many", "expected a number of steps, as in diloco:16"),
    ],
)
def test_a_way_that_there_is_not_is_refused(way: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        way_fields(way)


def step(number: int, seconds: float, sent_bytes: int) -> StepTrace:
    return StepTrace(number, 0.0, 0.0, 0.0, 0.0, seconds, 8, sent_bytes, (), "ring")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two ranks, six steps of 2 s, 10 and 5 bytes a step; an evaluation after every second one."""
    for rank, sent_bytes in ((0, 10), (1, 5)):
        begin_trace(tmp_path, TraceHeader(rank, 2, "ring", "executor", 40, None), 0)
        append_steps(tmp_path, rank, [step(number, 2.0, sent_bytes) for number in range(6)])
    evaluations = [
        Metrics(
            step=steps,
            epoch=epoch,
            lr=0.1,
            train_loss=1.0,
            test_loss=1.0,
            accuracy=accuracy,
            samples_per_s=4.0,
        )
        for epoch, (steps, accuracy) in enumerate(((2, 0.5), (4, 0.8), (6, 0.9)), 1)
    ]
    write_json_lines(metrics_file(tmp_path), map(asdict, evaluations))
    return tmp_path


def test_time_and_bytes_count_up_to_the_evaluation_that_reached_the_target(folder: Path) -> None:
    run = read_run(folder, "digits", "ring", 0, target=0.75)
    assert (run.reached, run.accuracy, run.steps) == (True, 0.8, 4)
    assert (run.seconds, run.sent_bytes) == (8.0, 60)
    assert run.curve == ((4.0, 30, 0.5), (8.0, 60, 0.8))


def test_a_run_that_never_reached_it_counts_to_its_end(folder: Path) -> None:
    run = read_run(folder, "digits", "ring", 0, target=0.95)
    assert (run.reached, run.accuracy, run.steps, run.seconds) == (False, 0.9, 6, 12.0)


def test_a_run_without_an_evaluation_is_refused(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="has no evaluation"):
        read_run(folder, "digits", "ring", 0, target=0.5)


@pytest.mark.parametrize("first", [3, 6])
def test_steps_that_were_not_measured_are_not_left_out(folder: Path, first: int) -> None:
    """A trace that began anew, as that of a run that went on with another plan."""
    begin_trace(folder, TraceHeader(1, 2, "gloo", "kernel", 40, None), 0)
    append_steps(folder, 1, [step(number, 2.0, 5) for number in range(first, 12)])
    with pytest.raises(RunFailedError, match="has 0 of the first 2 steps of rank 1; remove that"):
        read_run(folder, "digits", "ring", 0, target=0.95)


@pytest.fixture
def ended(folder: Path) -> Path:
    """Where a run is that was broken off on its way to 0.9."""
    runs = folder / "runs"
    shutil.copytree(folder / "trace", runs / "digits-ring-0" / "trace")
    shutil.copy(folder / "metrics.jsonl", runs / "digits-ring-0")
    asked = "'2 x 1gbit' sync.algorithm ring seed 0 optim.target_accuracy 0.9 optim.lr 0.1"
    (runs / "digits-ring-0.asked").write_text(asked)
    (runs / "digits-ring-0.toml").write_text(recipe_toml(load_recipe("digits")))
    return runs


def compared(
    runs: Path,
    recipe: str = "digits",
    network: str = "2 x 1gbit",
    rate: str = "0.1",
    target: float = 0.9,
) -> list[AccuracyRun]:
    return time_to_accuracy(
        [recipe],
        target=target,
        ways=["ring"],
        network=network,
        seeds=1,
        runs=runs,
        fields={"optim.lr": rate},
    )


def test_a_run_is_read_again_and_for_a_lower_target_too(ended: Path) -> None:
    for target, seconds in ((0.9, 12.0), (0.8, 8.0), (0.5, 4.0)):
        (found,) = compared(ended, target=target)
        assert (found.reached, found.seconds) == (True, seconds)


def test_a_run_that_ended_before_recipes_were_kept_is_read(ended: Path) -> None:
    (ended / "digits-ring-0.toml").unlink()
    (ended / "digits-ring-0.asked").unlink()
    asked = "'2 x 1gbit' --sync.algorithm ring --seed 0 --optim.target-accuracy 0.9 --optim.lr 0.1"
    (ended / "digits-ring-0.ended").write_text(asked)
    (found,) = compared(ended)
    assert found.seconds == 12.0


@pytest.mark.parametrize("lost", ["asked", "nothing"])
@pytest.mark.parametrize(
    ("network", "rate", "recipe"),
    [
        ("2 x 10mbit", "0.1", "digits"),
        ("2 x 1gbit", "0.2", "digits"),
        ("2 x 1gbit", "0.1", "other/digits.toml"),
    ],
)
def test_a_run_of_another_network_recipe_or_options_is_refused(
    ended: Path, lost: str, network: str, rate: str, recipe: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    text = recipe_toml(load_recipe("digits")).replace("batch_size = 64", "batch_size = 32")
    (tmp_path / "other/digits.toml").write_text(text)
    (ended / f"digits-ring-0.{lost}").unlink(missing_ok=True)
    with pytest.raises(UserError, match="has a run of another recipe, network or options; give"):
        compared(ended, recipe.replace("other", f"{tmp_path}/other"), network, rate)


def run(way: str, seed: int, seconds: float, sent_bytes: int, reached: bool = True) -> AccuracyRun:
    return AccuracyRun("digits", way, seed, reached, 0.9, 40, seconds, sent_bytes, ())


def test_a_row_has_the_median_over_the_seeds_beside_the_first_way() -> None:
    runs = [run("gloo", 0, 30.0, 4_000_000), run("gloo", 1, 20.0, 4_000_000)]
    runs += [run("ring+int8", 0, 10.0, 1_000_000), run("ring+int8", 1, 99.0, 1_000_000, False)]
    first, second = accuracy_cells(runs)
    assert first[2:] == ("2 of 2", "90.00%", "40", "25.0", "20.0 to 30.0", "1.00", "4.0", "1.0")
    assert second[2:] == ("1 of 2", "90.00%", "40", "10.0", "10.0 to 10.0", "2.50", "1.0", "4.0")
