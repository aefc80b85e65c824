"""What `firetree.plan` predicts, as value, text, JSON and page, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import firetree
from firetree.commands.pages import fragment
from firetree.commands.plan import _as_json as as_json
from firetree.commands.text.plan import as_text, ways_cells
from firetree.errors import UserError
from firetree.models.profile import Gradient, LayerSizes, Profile, Workload
from firetree.models.workload import load_workload
from firetree.network import Network, parse_network
from firetree.planning.forecast import Forecast, forecast
from firetree.planning.plan import Plan
from firetree.planning.subsets import Subset

GRADIENTS = tuple(Gradient(f"p{k}", 1 << 20, 0.01 * k) for k in range(1, 5))
GENTLE = Profile(0.02, 0.04, tuple(Gradient(f"p{k}", 1 << 15, 0.01 * k) for k in range(1, 5)))
WORKLOAD = Workload(
    "tiny", Profile(0.02, 0.04, GRADIENTS), (LayerSizes("fc", 4 << 20, 1 << 20),), 8
)


@pytest.fixture(scope="module")
def found() -> Forecast:
    return forecast(WORKLOAD, parse_network("3 x 100mbit"))


def test_json_has_the_documented_keys(found: Forecast) -> None:
    said = json.loads(as_json(found))
    keys = ["model", "network", "points", "hosts", "changes", "advice", "plan"]
    assert list(said) == keys
    assert [point["world_size"] for point in said["points"]] == [1, 2, 3]
    assert set(said["points"][0]) == {
        "world_size",
        "hosts",
        "step_s",
        "speedup",
        "efficiency",
        "algorithm",
        "limited_by",
    }
    assert said["model"] == "tiny"
    assert said["advice"] == list(found.advice)
    assert said["hosts"] == [0, 1, 2]
    assert {*said["changes"][0]} == {"what", "effort", "hosts", "speedup", "gain", "lost_points"}


def test_the_plan_in_the_json_is_one_that_can_be_loaded(found: Forecast) -> None:
    assert Plan.from_json(json.dumps(json.loads(as_json(found))["plan"])) == found.plan


def test_the_plan_is_that_of_all_hosts_where_none_is_left_out(found: Forecast) -> None:
    assert found.hosts == (0, 1, 2)
    assert (found.plan.world_size, found.plan.step_s) == (3, found.points[-1].step_s)
    found.plan.check(3, 4 << 20)


@pytest.mark.parametrize(
    ("text", "out", "used"), [("1 x 5mbit + 3 x 50mbit", 0, (1, 2, 3)), ("3 x 50mbit + 1 x 5mbit", 3, (0, 1, 2))]
)  # fmt: skip
def test_the_plan_is_that_of_the_hosts_to_start(text: str, out: int, used: Subset) -> None:
    left = forecast(Workload("tiny", GENTLE, (), 8), parse_network(text))
    assert left.hosts == used
    left.plan.check(3, GENTLE.size_bytes)
    assert left.plan.candidates
    assert (f"leave out host {out}", used) in [(it.what, it.hosts) for it in left.changes]
    said = as_text(left)
    assert f"3 machines (all but host {out}; start these alone, in this order);" in said
    assert f"- leave out host {out}: " in said
    assert f"or repair the link of host {out} (50 Mbit/s in place of 5 Mbit/s): " in said


def test_where_one_machine_is_fastest_the_plan_is_for_all() -> None:
    alone = forecast(WORKLOAD, parse_network("3 x 1mbit"))
    assert alone.hosts == (0, 1, 2)
    assert alone.advice[0].startswith("one machine alone is fastest: 3 reach 0.0")
    assert "any 1" in as_text(alone)


def test_the_text_has_points_ways_and_advice(found: Forecast) -> None:
    lines = as_text(found).splitlines()
    assert lines[0] == "tiny: 4.194 MB of gradients, 60 ms of computation a step of 8 samples"
    assert lines[2].split() == [
        *("machines", "hosts", "step", "speed-up", "efficiency"),
        *("synchronised", "by", "limited", "by"),
    ]
    assert lines[3].split() == ["1", "any", "1", "60", "ms", "1.00", "100%", "none", "computation"]
    bound = "no trees can sum all gradients in less than 447 ms"
    assert any(bound in line for line in lines)
    assert [line[2:] for line in lines if line.startswith("- ")] == list(found.advice)


def test_ways_that_take_as_long_share_a_row(found: Forecast) -> None:
    cells = ways_cells(found.plan)
    assert len({taken for _, taken in cells[1:]}) == len(cells) - 1
    named = [name for names, _ in cells[1:] for name in names.split(", ")]
    assert named == [way.algorithm for way in found.plan.candidates]


def test_on_one_host_there_are_no_ways_to_choose_from() -> None:
    alone = forecast(WORKLOAD, parse_network("1 x 1gbit"))
    assert "Ways to synchronise" not in as_text(alone)
    assert alone.advice == ("a network of one host: there is nothing to synchronise",)


def test_a_forecast_is_one_line_and_its_page_has_points_ways_and_advice(found: Forecast) -> None:
    speedup = f"{found.points[-1].speedup:.2f}"
    assert repr(found).startswith("Forecast(tiny, speed-up by hosts {1: 1.00, 2: ")
    assert repr(found).endswith(f"3: {speedup}}})")
    page = found._repr_html_()
    assert f"<td>{speedup}</td>" in page
    assert fragment(found.plan) in page
    assert page.count("<li>") == len(found.advice)


def test_a_model_is_planned_by_a_call() -> None:
    said: list[str] = []
    found = firetree.plan("squeezenet_small", "2 x 1gbit", compute_s=0.05, progress=said.append)
    assert found.points[0].step_s == pytest.approx(0.05)
    assert (found.plan.model, found.plan.world_size) == ("squeezenet_small", 2)
    assert said[:2] == ["pricing 1 of 2 hosts", "pricing 2 of 2 hosts"]


HOSTS = [{"up": "1gbit", "down": "1gbit"}] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        (json.dumps({"version": 2, "hosts": [{"up": "-1gbit", "down": "1gbit"}]}), "'-1gbit'"),
        (
            json.dumps({"version": 2, "hosts": HOSTS, "latency": [[None, "1us"], []]}),
            "no latency from host 1 to host 0",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_its_file(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "network.json"
    path.write_text(content)
    with pytest.raises(UserError) as refusal:
        Network.load(str(path))
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "batch", "compute_s", "message"),
    [
        ("squeezenet_smal", 1, 1.0, "no network 'squeezenet_smal'; did you mean"),
        ("squeezenet_small", 0, 1.0, "batch is 0; expected 1 or more"),
        ("squeezenet_small", 1, 0.0, "compute_s is 0; expected more than 0"),
        ("squeezenet_small", 1, -1.0, "compute_s is -1; expected more than 0"),
        ("squeezenet_small", 1, float("nan"), "compute_s is nan; expected more than 0"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(
    model: str, batch: int, compute_s: float, message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        load_workload(model, batch=batch, compute_s=compute_s)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


NORMALISED = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 32), nn.BatchNorm2d(4))
"""


def test_a_given_duration_does_for_a_network_that_normalises_over_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "normalised_network.py").write_text(NORMALISED)
    monkeypatch.syspath_prepend(tmp_path)
    workload = load_workload("normalised_network:build", batch=8, size=32, compute_s=0.05)
    assert workload.profile.compute_s == pytest.approx(0.05)
    assert [layer.activation_bytes for layer in workload.layers] == [8 * 4 * 4] * 2


def test_a_network_is_measured_with_the_example_that_is_given() -> None:
    example = {"input1": torch.ones(5, 3), "input2": torch.ones(5, 4)}
    workload = load_workload(nn.Bilinear(3, 4, 2), example=example)
    assert workload.model == "Bilinear"
    assert workload.samples == 5
    assert workload.profile.size_bytes == 4 * (2 * 3 * 4 + 2)
    assert [layer.activation_bytes for layer in workload.layers] == [4 * 5 * 2]


def test_a_given_duration_is_what_a_step_computes() -> None:
    workload = load_workload("squeezenet_small", batch=8, compute_s=0.05)
    assert workload.profile.compute_s == pytest.approx(0.05)
    assert workload.profile.gradients[-1].ready_s <= workload.profile.backward_s
    assert sum(layer.weight_bytes for layer in workload.layers) == workload.profile.size_bytes
