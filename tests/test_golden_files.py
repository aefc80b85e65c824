"""Files that were written once are read for ever: one of each format, with values that are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import firetree

from firetree.collectives import Schedule, prove
from firetree.metrics import read_metrics
from firetree.network import from_json, to_json
from firetree.planning.plan import Plan
from firetree.probing import Probe
from firetree.trace import read_trace
from firetree.training import checkpoint
from firetree.training.recipe_file import read_kept_recipe

GOLDEN = Path(__file__).parent / "golden"
RUN = GOLDEN / "run"


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def test_a_network_of_version_2() -> None:
    network = from_json(golden("network-v2.json"))
    assert [host.up_bytes_s for host in network.hosts] == [25e6, 50e6, 75e6, 100e6]
    assert network.racks[1].hosts == (2, 3)
    assert network.machines[0].cores == 2
    assert network.latency_s[3][0] == pytest.approx(4e-4)
    assert network.pair_bytes_s[0][1] == 20e6
    assert to_json(network) == golden("network-v2.json")


def test_a_plan_of_version_2() -> None:
    plan = Plan.from_json(golden("plan-v2.json"))
    assert (plan.model, plan.world_size, plan.gradient_bytes) == ("example", 4, 4_004_000)
    assert plan.choice_for(4_000_000).algorithm == "hierarchical"
    assert plan.to_json() == golden("plan-v2.json")


def test_a_probe_of_version_1() -> None:
    probe = Probe.from_json(golden("probe-v1.json"))
    assert probe.intervals["rack 0 out"] == (0.9e7, 1.1e7)
    assert (probe.unmeasured, probe.warnings) == ((4,), ("host 3 is busy",))
    assert probe.to_json() == golden("probe-v1.json")


def test_a_schedule_of_version_2() -> None:
    schedule = Schedule.from_json(golden("schedule-v2.json"))
    prove(schedule)
    assert (schedule.world_size, schedule.chunks) == (3, 3)
    assert schedule.to_json() == golden("schedule-v2.json")


def test_the_recipe_of_a_run() -> None:
    recipe = read_kept_recipe(RUN / "recipe.toml")
    assert (recipe.model.name, recipe.model.base_e) == ("squeezenet_small", 8)
    assert (recipe.data.name, recipe.data.crop_padding, recipe.optim.steps) == ("digits", 1, 6)


def test_the_trace_of_version_1_of_a_run() -> None:
    first, second = read_trace(RUN).ranks
    assert (first.header.rank, second.header.algorithm) == (0, "binomial_tree")
    assert [step.step for step in second.steps] == [0, 1, 2, 3, 4, 5]
    assert [bucket.size_bytes for bucket in second.steps[0].buckets] == [8104]
    assert second.steps[0].forward_s == 0.0069555639993268414


def test_the_metrics_of_a_run() -> None:
    (metrics,) = read_metrics(RUN)
    assert (metrics.step, metrics.epoch, metrics.accuracy) == (6, 1, 0.10863509749303621)


def test_the_checkpoint_of_version_1_of_a_run() -> None:
    kept, damaged = checkpoint.newest(RUN / "checkpoints")
    assert kept is not None
    assert damaged == []
    assert kept.state.step == 6
    assert float(kept.model["fire2.squeeze1x1.bias"].sum()) == pytest.approx(-2.1764866e-04)
    assert "fire6.expand1x1.weight/momentum_buffer" in kept.optimizer


def test_a_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    asked = ("train", str(run / "recipe.toml"), "--optim.steps", 8, "--run-dir", run, "--resume")
    code, out, err = firetree(*asked)
    assert code == 0, err
    assert "resumed at step 6 of 8" in out
    assert [metrics.step for metrics in read_metrics(run)] == [6, 8]
