"""What a network's layers weigh, and at which rates it learns, by the real commands."""

from __future__ import annotations

import json
from pathlib import Path

from command import firetree


def test_a_networks_layers_are_listed_and_add_up() -> None:
    code, out, _ = firetree("inspect", "squeezenet_v1_0", "--json", "--batch", 2)
    found = json.loads(out)
    assert code == 0
    assert found["parameters"] == 1_248_424
    assert found["weight_bytes"] == sum(layer["weight_bytes"] for layer in found["layers"])
    activations = sum(layer["activations"] for layer in found["layers"])
    assert found["activation_bytes"] == 2 * 4 * activations
    text = firetree("inspect", "squeezenet_v1_0")[1]
    assert "1,248,424 parameters, |W| 5.0 MB" in text.splitlines()[-1]


def test_a_resnet_is_inspected_by_its_name() -> None:
    code, out, err = firetree("inspect", "resnet50")
    assert (code, err) == (0, "")
    assert "resnet50: 25,557,032 parameters, |W| 102.2 MB; 8.18 Gflop" in out


def test_an_unknown_network_is_refused_in_one_line() -> None:
    code, _, err = firetree("inspect", "squeezenet")
    assert code == 2
    assert err.startswith("firetree: no network 'squeezenet'; did you mean")


def test_no_rate_is_read_off_a_game_s_loss(tmp_path: Path) -> None:
    code, _, err = firetree("train", "catch", "--find-lr", "--run-dir", tmp_path / "run")
    assert code == 2
    assert err.count("\n") == 1
    assert "compare short runs" in err


def test_a_range_test_says_where_the_loss_falls_and_draws_it(tmp_path: Path) -> None:
    code, out, err = firetree("train", "digits", "--find-lr", "--run-dir", tmp_path)
    assert (code, err) == (0, "")
    points = [json.loads(line) for line in (tmp_path / "find-lr.jsonl").read_text().splitlines()]
    rates = [point["rate"] for point in points]
    assert rates == sorted(rates)
    assert min(point["smoothed"] for point in points) < 0.9 * points[0]["smoothed"]
    assert out.startswith("the loss falls fastest at a learning rate of ")
    assert "learning rate" in (tmp_path / "find-lr.html").read_text()
