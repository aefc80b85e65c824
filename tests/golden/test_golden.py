"""Files that earlier firetrees have written are read for ever, with the values that were written."""

from __future__ import annotations

import base64
import json
import re
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from command import firetree
from golden_files import ANSWERS, FOLDER, answer
from safetensors.torch import load

from firetree.collectives import Schedule, prove
from firetree.collectives.schedule import SCHEDULE_VERSION
from firetree.confusion import CONFUSION_VERSION, confusion_file, read_confusions
from firetree.metrics import read_metrics
from firetree.modelfiles import Preprocessing, load_model
from firetree.modelfiles.fire.coders import CODERS
from firetree.modelfiles.fire.container import VERSION
from firetree.modelfiles.model import from_metadata
from firetree.network import from_json, to_json
from firetree.network.document import NETWORK_VERSION
from firetree.planning.plan import PLAN_VERSION, Plan
from firetree.probing import Probe
from firetree.probing.result import PROBE_VERSION
from firetree.trace import (
    TRACE_VERSION,
    ChannelSpan,
    LayerBytes,
    LayerSpan,
    TransferSpan,
    read_trace,
)
from firetree.training import checkpoint
from firetree.training.checkpoint import STATE_VERSION
from firetree.training.recipe_file import read_kept_recipe

KNOWN = json.loads(ANSWERS.read_text())
RUN = FOLDER / "run"


def golden(name: str) -> str:
    return (FOLDER / name).read_text()


def test_todays_version_of_each_format_is_among_them() -> None:
    fires = product(("lossless", "shared"), CODERS)
    assert {f"{kind}-{coder}-v{VERSION}.fire" for kind, coder in fires} <= set(KNOWN)
    versions = {
        "checkpoint": STATE_VERSION,
        "confusion": CONFUSION_VERSION,
        "network": NETWORK_VERSION,
        "plan": PLAN_VERSION,
        "probe": PROBE_VERSION,
        "schedule": SCHEDULE_VERSION,
        "trace": TRACE_VERSION,
    }
    for name, version in versions.items():
        assert list(FOLDER.glob(f"{name}-v{version}*")), f"keep a file of {name} version {version}"


def test_each_kept_file_has_a_row_in_the_readme() -> None:
    rows = set(re.findall(r"^\| `([^`]+)`", golden("README.md"), re.MULTILINE))
    kept = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".md")}
    assert rows == kept - {"__pycache__"}


@pytest.mark.parametrize("name", KNOWN)
def test_a_fire_holds_what_was_written_into_it(name: str) -> None:
    found, known = answer(load_model(FOLDER / name)), dict(KNOWN[name])
    assert found.pop("logits") == pytest.approx(known.pop("logits"), rel=1e-4)
    assert found == known


def test_the_metadata_of_an_export_is_understood() -> None:
    found = from_metadata(json.loads(golden("onnx-metadata.json")), "onnx-metadata.json")
    assert found is not None
    assert found.network == "squeezenet_small"
    assert found.fields == {"base_e": 8, "incr_e": 4, "squeeze_ratio": 0.5}
    assert found.preprocessing == Preprocessing(18, False, 16, "RGB", (120.0,), (60.0,))
    assert found.classes == ("cat", "dog", "eel, fish")


def test_a_network_of_version_2() -> None:
    network = from_json(golden("network-v2.json"))
    assert [host.up_bytes_s for host in network.hosts] == [25e6, 50e6, 75e6, 100e6]
    assert network.racks[1].hosts == (2, 3)
    assert network.machines[0].cores == 2
    assert network.latency_s[3][0] == pytest.approx(4e-4)
    assert network.pair_bytes_s[0][1] == 20e6
    assert to_json(network) == golden("network-v2.json")


def test_a_plan_of_version_1() -> None:
    plan = Plan.from_json(golden("plan-v1.json"))
    assert (plan.model, plan.world_size, plan.gradient_bytes) == ("a model", 3, 3_000)
    assert plan.choice_for(1_000).algorithm == "kary_tree:2"


def test_a_plan_of_version_2() -> None:
    plan = Plan.from_json(golden("plan-v2.json"))
    assert (plan.model, plan.world_size, plan.gradient_bytes) == ("example", 4, 4_004_000)
    assert plan.choice_for(4_000_000).algorithm == "hierarchical"


def test_a_plan_of_version_3() -> None:
    plan = Plan.from_json(golden("plan-v3.json"))
    tree, forest = (plan.choice_for(size_bytes) for size_bytes in (1_000_000, 4_000_000))
    assert tree.tree is not None
    assert tree.tree.sums_to == (1, 1, 1, 2)
    assert forest.forest is not None
    assert forest.forest.racks == ((0, 1), (3, 2))
    for choice in (tree, forest):
        prove(choice.schedule(4))


def test_a_plan_of_version_4() -> None:
    plan = Plan.from_json(golden("plan-v4.json"))
    choice = plan.choice_for(4_000_000)
    assert choice.grove is not None
    assert [tree.chunks for tree in choice.grove.trees] == [3, 1]
    prove(choice.schedule(4))
    assert plan.to_json() == golden("plan-v4.json")


def test_a_probe_of_version_1() -> None:
    probe = Probe.from_json(golden("probe-v1.json"))
    assert probe.intervals["rack 0 out"] == (0.9e7, 1.1e7)
    assert (probe.unmeasured, probe.warnings) == ((4,), ("host 3 is busy",))
    assert (probe.at_least, probe.remark) == ((), "")


def test_a_probe_of_version_2() -> None:
    probe = Probe.from_json(golden("probe-v2.json"))
    assert (probe.network.name(3), probe.at_least) == ("host-3", ("host-3 down",))
    assert probe.remark.startswith("all ports carry 94.1 Mbit/s")
    assert probe.to_json() == golden("probe-v2.json")


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
    assert (second.steps[0].channels, second.steps[0].buckets[0].transfers) == ((), ())


def test_the_trace_of_version_2() -> None:
    first, second = read_trace(FOLDER / "trace-v2").ranks
    assert [step.step for step in first.steps] == [0, 16, 17]
    _, detailed, plain = second.steps
    sent, received = detailed.buckets[0].transfers
    assert sent == TransferSpan(0, "send", 0, 8104, 2246.999975236, 2247.000046562)
    assert received.kind == "recv"
    assert plain.buckets[0].transfers == plain.wires == ()
    assert plain.channels[1] == ChannelSpan(0, "to", 1, 8104, 2247.0260577599997, 2247.026201362)
    [wire] = detailed.wires
    assert (wire.peer, wire.tcp.acked_bytes, wire.tcp.min_rtt_s) == (0, 8120, 6e-06)
    assert wire.tcp.app_limited


def test_the_trace_of_version_3() -> None:
    trace = read_trace(FOLDER / "trace-v3")
    first, second = trace.ranks
    assert (second.header.name, second.header.address) == ("rank 1 on box-1", "10.0.0.2")
    assert first.header.layers[0] == LayerBytes("fire6.expand3x3", 14224)
    assert [(step.step, step.count) for step in second.steps] == [(0, 1), (16, 1), (17, 1), (21, 4)]
    detailed = second.steps[1]
    assert detailed.saving_s == 0.1300957509993168
    assert [it.phase for it in detailed.phases][-3:] == ["backward", "communication", "optimizer"]
    assert detailed.buckets[0].layers[-1] == "conv10"
    assert detailed.passes[0].end_s == 6343.1113718175
    assert detailed.layer_times[0] == LayerSpan("conv1", 0.00125)
    assert detailed.connections[0].tcp.acked_bytes == 79928
    assert [event.kind for event in trace.events] == ["started", "slower", "waiting", "failed"]
    assert first.now is not None
    assert (first.now.phase, first.now.buckets[0].layers) == ("communication", ("conv10",))
    assert second.now is None


def test_the_metrics_of_a_run() -> None:
    (metrics,) = read_metrics(RUN)
    assert (metrics.step, metrics.epoch, metrics.accuracy) == (6, 1, 0.10863509749303621)


def test_a_confusion_of_version_1(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "confusion-v1.json", confusion_file(tmp_path))
    found = read_confusions(tmp_path)
    assert found is not None
    assert found.best is not None
    assert found.classes == ("daisy", "dandelion", "rose", "sunflower", "tulip")
    assert (found.newest.step, found.best.step, found.newest.confused[0]) == (12, 6, (3, 1, 5))
    assert base64.b64decode(found.newest.worst[0].jpeg).startswith(b"\xff\xd8")


def test_the_checkpoint_of_version_1_of_a_run() -> None:
    kept, damaged = checkpoint.newest(RUN / "checkpoints")
    assert kept is not None
    assert damaged == []
    assert (kept.state.step, kept.state.version) == (6, 1)
    assert float(kept.model["fire2.squeeze1x1.bias"].sum()) == pytest.approx(-2.1764866e-04)
    assert "fire6.expand1x1.weight/momentum_buffer" in kept.optimizer


def test_the_checkpoint_of_version_2_has_each_ranks_own_state() -> None:
    kept, damaged = checkpoint.newest(FOLDER / "checkpoint-v2")
    assert kept is not None
    assert damaged == []
    assert (kept.state.step, kept.state.version, kept.state.ranks) == (25, 2, 2)
    own = [load(part) for part in kept.parts]
    for name, mean in kept.sync.items():
        assert torch.allclose((own[0][name] + own[1][name]) / 2, mean, atol=1e-6)


def resumed(name: str, folder: Path) -> tuple[int, str, str]:
    run = folder / "run"
    shutil.copytree(FOLDER / name, run)
    asked = ("train", str(run / "recipe.toml"), "--optim.steps", 8, "--run-dir", run, "--resume")
    return firetree(*asked)


def test_a_run_goes_on(tmp_path: Path) -> None:
    code, out, err = resumed("run-2", tmp_path)
    assert code == 0, err
    assert "resumed at step 6 of 8" in out
    assert [metrics.step for metrics in read_metrics(tmp_path / "run")] == [6, 8]


def test_a_run_that_held_out_other_images_than_today_is_refused(tmp_path: Path) -> None:
    code, _, err = resumed("run", tmp_path)
    assert code == 2
    assert "cannot resume: the run's data had mean [0.304" in err
