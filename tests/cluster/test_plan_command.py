"""`firetree plan` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import firetree

from firetree.planning.plan import Plan, load_plan

MODEL = ("--model", "squeezenet_small", "--compute", "50ms")


def test_the_answer_is_json_and_the_plan_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    code, out, err = firetree("plan", "--network", "2 x 1gbit", *MODEL, "--json", "-o", path)
    assert code == 0, err
    said = json.loads(out)
    keys = {"model", "network", "points", "hosts", "changes", "advice", "plan"}
    assert set(said) == keys
    assert [point["world_size"] for point in said["points"]] == [1, 2]
    assert said["points"][0]["step_s"] == pytest.approx(0.05)
    assert load_plan(path) == Plan.from_json(json.dumps(said["plan"]))


def test_the_file_is_for_the_hosts_to_start(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    network = ("--network", "1 x 50mbit + 3 x 200mbit")
    code, out, err = firetree("plan", *network, *MODEL, "-o", path)
    assert code == 0, err
    assert "- leave out host 0: " in out
    assert "all but host 0; start these alone" in out
    assert load_plan(path).world_size == 3


def test_a_resnet_is_planned_by_its_name() -> None:
    network = ("--network", "4 x 1gbit", "--compute", "0.5s", "--json")
    code, out, _ = firetree("plan", "--model", "resnet50", *network)
    assert code == 0
    assert json.loads(out)["points"][-1]["world_size"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--network", "2 x 1furlong", *MODEL), "rate '1furlong'; expected"),
        (("--batch", "0", "--compute", "1s"), "--batch is 0; expected 1 or more"),
        (("--network", "2 x 1gbit", "--compute", "0s"), "--compute is 0s; expected more than 0"),
    ],
)
def test_a_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = firetree("plan", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("firetree: ")
    assert err.count("\n") == 1
