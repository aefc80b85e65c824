"""What `bench allreduce` is asked for: read as meant, or refused before anything is started."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from firetree import collectives
from firetree.bench.measure import Settings, settings_of
from firetree.commands.bench import (
    AllreduceOptions,
    allreduce_arguments,
    parse_size,
    parse_world_sizes,
    recipe_fields,
)
from firetree.errors import UserError
from firetree.network import Network, to_json

TWO_HOSTS = Network.of_ports((25e6, 12.5e6))


@pytest.fixture(autouse=True)
def outside_of_any_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRETREE_NETWORK", raising=False)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4B", 4),
        ("64kB", 64_000),
        ("1kb", 1_000),
        ("5MB", 5_000_000),
        ("2 MB", 2_000_000),
        ("1.5MB", 1_500_000),
        ("64.1kB", 64_100),
        ("2GB", 2_000_000_000),
        ("1kiB", 1_024),
        ("1MiB", 1_048_576),
        ("0.5GiB", 536_870_912),
        ("7B", 4),  # whole float32
        ("1.023kB", 1_020),
    ],
)
def test_a_size_is_read_and_cut_down_to_whole_elements(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "size ''; expected a number and B, kB, MB or GB, as in 5MB"),
        ("64", "size '64'; expected a number and B"),
        ("kB", "size 'kB'; expected a number and B"),
        ("-4B", "size '-4B'; expected a number and B"),
        ("1e3B", "size '1e3B'; expected a number and B"),
        ("5Mbit", "size '5Mbit'; expected a number and B"),
        ("4iB", "size '4iB'; expected a number and B"),
        ("3B", "size '3B'; expected at least 4B, one element"),
        ("0MB", "size '0MB'; expected at least 4B, one element"),
        ("0.001kB", "size '0.001kB'; expected at least 4B, one element"),
    ],
)
def test_a_text_that_is_no_size_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_size(text)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("text", ["0", "-2", "2.0", "two", "²", "+2", "1 2"])
def test_a_text_that_is_no_number_of_ranks_is_refused(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_world_sizes(text)
    assert str(refusal.value) == (
        f"world_size is {text}; expected a number of ranks, as in 4 or 2,4,8"
    )


@pytest.mark.parametrize("text", ["1", "2", "64"])
def test_a_number_of_ranks_is_read(text: str) -> None:
    assert parse_world_sizes(text) == [int(text)]


def asked_for(started: int | None = None, **asked: Any) -> Settings:
    """What is measured for some options among so many started ranks, or none."""
    options = dataclasses.replace(AllreduceOptions(), **asked)
    return settings_of(started, **allreduce_arguments(options))


@pytest.mark.parametrize(("started", "world_sizes"), [(None, (2, 4)), (3, (3,))])
def test_the_defaults_are_few_algorithms_and_all_ranks_that_were_started(
    started: int | None, world_sizes: tuple[int, ...]
) -> None:
    found = asked_for(started)
    assert found.algorithms == ("binomial_tree", "chain", "double_binary_tree", "ring")
    assert found.sizes_bytes == (1_000, 64_000, 1_000_000, 5_000_000)
    assert found.world_sizes == world_sizes
    assert (found.repeats, found.device, found.timeout_s, found.network()) == (7, "cpu", 60.0, None)


@pytest.mark.parametrize(
    ("asked", "field", "value"),
    [
        ({"algorithms": "ring"}, "algorithms", ("ring",)),
        ({"algorithms": "ring, kary_tree:2"}, "algorithms", ("ring", "kary_tree:2")),
        ({"algorithms": "all"}, "algorithms", collectives.names()),
        ({"algorithms": "gloo,ring,ring"}, "algorithms", ("ring",)),
        ({"sizes": "64kB , 4B"}, "sizes_bytes", (64_000, 4)),
        ({"world_size": "4"}, "world_sizes", (4,)),
        ({"world_size": "8, 2"}, "world_sizes", (8, 2)),
        ({"repeats": 1}, "repeats", 1),
        ({"timeout_s": 0.5}, "timeout_s", 0.5),
        ({"device": "cuda"}, "device", "cuda"),
    ],
)
def test_an_option_becomes_a_setting(asked: dict[str, Any], field: str, value: object) -> None:
    assert getattr(asked_for(**asked), field) == value


@pytest.mark.parametrize(
    ("asked", "network"),
    [
        ({"rate": "200mbit", "world_size": "2,4"}, Network.of_ports((25e6,) * 4)),
        ({"rate": "1gbit"}, Network.of_ports((125e6,) * 4)),
    ],
)
def test_a_rate_is_that_of_every_port(asked: dict[str, Any], network: Network) -> None:
    assert asked_for(**asked).network() == network


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"algorithms": "rings"}, "no algorithm 'rings'; did you mean 'ring'?"),
        ({"algorithms": "ring,"}, "'ring,'; expected comma-separated names or numbers"),
        ({"algorithms": ""}, "''; expected comma-separated names or numbers"),
        ({"algorithms": "kary_tree:0"}, "'kary_tree:0'; expected a number from 1"),
        ({"algorithms": "ring:2"}, "'ring:2': ring takes no number; expected 'ring'"),
        ({"sizes": "64kB,,5MB"}, "'64kB,,5MB'; expected comma-separated names or numbers"),
        ({"sizes": "64kB,5"}, "size '5'; expected a number and B, kB, MB or GB"),
        ({"world_size": "2,0"}, "world_size is 0; expected a number of ranks"),
        ({"world_size": "2;4"}, "world_size is 2;4; expected a number of ranks"),
        ({"world_size": ""}, "''; expected comma-separated names or numbers"),
        ({"repeats": 0}, "repeats is 0; expected 1 or more"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0; expected seconds above 0"),
        ({"timeout_s": -1.0}, "timeout_s is -1.0; expected seconds above 0"),
        ({"timeout_s": float("nan")}, "timeout_s is nan; expected seconds above 0"),
        ({"rate": "fast"}, "rate 'fast'; expected a number and kbit, mbit or gbit"),
        ({"rate": "0mbit"}, "rate '0mbit'; expected"),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        asked_for(**asked)
    assert str(refusal.value).startswith(message)


def test_the_network_of_the_lab_around_is_what_the_bound_is_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRETREE_NETWORK", to_json(TWO_HOSTS))
    assert asked_for(2).network() == TWO_HOSTS


def test_more_ranks_than_the_lab_around_has_hosts_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRETREE_NETWORK", to_json(TWO_HOSTS))
    with pytest.raises(UserError, match="3 ranks in a lab of 2 hosts; expected one a host"):
        asked_for(3)


def test_a_rate_that_is_asked_for_counts_more_than_the_lab_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRETREE_NETWORK", to_json(TWO_HOSTS))
    found = asked_for(2, rate="8mbit")
    assert found.network() == Network.of_ports((1e6, 1e6))


def test_a_broken_network_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRETREE_NETWORK", "{}")
    with pytest.raises(UserError, match="a network without 'version'"):
        asked_for(2)


def test_options_of_a_recipe_are_its_fields() -> None:
    options = ["--optim.lr", "0.1", "--optim.batch-size=32", "--data.flip", "--optim.no-nesterov"]
    assert recipe_fields([*options, "--data.shift", "-1"]) == {
        "optim.lr": "0.1",
        "optim.batch_size": "32",
        "data.flip": True,
        "optim.nesterov": False,
        "data.shift": "-1",
    }


def test_a_word_that_is_no_option_of_a_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="'lr'; expected a recipe's field and value, as in --optim"):
        recipe_fields(["lr", "0.1"])
