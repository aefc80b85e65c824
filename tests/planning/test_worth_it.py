"""Sentences on a forecast: never "worth it" beside hosts that are slower than one."""

from __future__ import annotations

import pytest

from firetree.models.profile import Gradient, LayerSizes, Profile
from firetree.network import Network, parse_network
from firetree.planning.advice import advise
from firetree.planning.changes import Change
from firetree.planning.plan import Plan, Prices
from firetree.planning.scaling import PricedSubset

PROFILE = Profile(0.05, 0.1, (Gradient("p", 1 << 20, 0.1),))


def subsets_of(network: Network, speedups: list[float], limit: str) -> list[PricedSubset]:
    """As if the first hosts had been priced, of as many as there are speed-ups."""
    found = []
    counts = [1, 2, 4, 8] if network.size == 8 else range(1, network.size + 1)
    for count, speedup in zip(counts, speedups, strict=True):
        plan = Plan("m", count, 1 << 20, 1 << 20, (), 0.15, 0.15 * count / speedup, limit, ())
        found.append(PricedSubset(tuple(range(count)), Prices(network.first(count)), plan))
    return found


def advised(
    text: str,
    speedups: list[float],
    layers: tuple[LayerSizes, ...] = (),
    changes: tuple[Change, ...] = (),
    limit: str = "host 0 up",
) -> list[str]:
    network = parse_network(text)
    return advise(PROFILE, network, subsets_of(network, speedups, limit), changes, layers)


def test_on_one_host_there_is_nothing_to_advise() -> None:
    said = ["a network of one host: there is nothing to synchronise"]
    assert advised("1 x 1gbit", [1.0]) == said


REPAIR = Change("repair the link of host 2 (…)", "a repair", (0, 1, 2), 2.9, 2.6, 0.0)


@pytest.mark.parametrize(
    ("text", "speedups", "verdict"),
    [
        ("4 x 1gbit", [1.0, 1.9, 2.8, 3.6], "4 machines instead of 2 bring 1.89 times the samples a second: worth it"),
        ("4 x 1gbit", [1.0, 1.9, 2.0, 2.0], "4 machines instead of 2 bring 1.05 times the samples a second: not worth it"),
        ("3 x 1gbit", [1.0, 1.5, 1.6], "3 machines instead of 1 bring 1.60 times the samples a second: worth it"),
        (
            "8 x 1gbit",
            [1.0, 0.64, 0.89, 1.54],
            "8 machines instead of 1 bring 1.54 times the samples a second, at 19% efficiency: worth it if they stand idle otherwise; 2 and 4 are slower than one",
        ),
        ("3 x 1gbit", [1.0, 1.9, 1.1], "leave out host 2: 1.90 times one machine's samples a second in place of 1.10; or repair the link of host 2 (…): 2.90"),
    ],
)  # fmt: skip
def test_the_verdict(text: str, speedups: list[float], verdict: str) -> None:
    assert advised(text, speedups, changes=(REPAIR,)) == [verdict]


@pytest.mark.parametrize(("last", "how"), [(0.31, "fastest"), (1.04, "about as fast")])
def test_one_machine_alone_and_how_many_times_fewer_bytes_would_change_that(
    last: float, how: str
) -> None:
    (said,) = advised("2 x 1mbit", [1.0, last])
    start = f"one machine alone is {how}: 2 reach {last:.2f} times its samples a second; with "
    assert said.startswith(start)
    assert said.endswith(" times fewer bytes, all together would be faster")


def test_computation_is_the_limit_where_all_hosts_do_not_wait() -> None:
    assert advised("2 x 1gbit", [1.0, 2.0], limit="computation") == [
        "2 machines instead of 1 bring 2.00 times the samples a second: worth it",
        "computation is the limit: a faster CPU helps, a faster network does not",
    ]


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (
            (LayerSizes("conv", 1_000_000, 8_000_000), LayerSizes("fc", 9_000_000, 5_000_000)),
            "data parallelism sends less: gradients, |∇W|, are 10 MB, and activations, |D|, 13 MB "
            "a step on each machine; model parallelism sends less for the layers fc",
        ),
        (
            (LayerSizes("fc", 9_000_000, 5_000_000),),
            "model parallelism sends less: gradients, |∇W|, are 9 MB, and activations, |D|, 5 MB a step on each machine",
        ),
        (
            (*(LayerSizes(name, 2_000_000, 1_000_000) for name in ("", *"abcde")), LayerSizes("conv", 0, 1_000_000)),
            "model parallelism sends less: gradients, |∇W|, are 12 MB, and activations, |D|, 7 MB a step on each "
            "machine; model parallelism sends less for the layers (the whole), a, b, c and 2 more",
        ),
    ],
)  # fmt: skip
def test_data_and_model_parallelism_are_compared_by_layer(
    layers: tuple[LayerSizes, ...], sentence: str
) -> None:
    assert advised("2 x 1gbit", [1.0, 1.9], layers)[-1] == sentence
