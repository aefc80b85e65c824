"""Advice on a plan: the efficiency with another batch, model, compression or faster links.

The same simulation predicts them as the plan itself. Settings are named as in a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from firetree.models.profile import LayerSizes, Profile
from firetree.network.network import Network
from firetree.network.units import format_bytes, format_duration
from firetree.planning.compressions import parse_compression
from firetree.planning.plan import ForecastPoint, Plan, Prices
from firetree.planning.step import local_step, step

SQUEEZENET_BYTES = 4 * 1_235_496
"""Gradients of SqueezeNet v1.1, which has AlexNet's accuracy (Iandola et al. 2016)."""

_COMPRESSIONS = ("fp16", "int8", "topk:0.01", "powersgd:4", "demo:32")
_LOCAL_STEPS = 16
_BETWEEN_LOCAL_STEPS = "sparseloco:0.02"

WORTH_IT = 1.1
"""Doubling the hosts is worth its price if samples a second grow by at least this factor."""


def advise(
    profile: Profile,
    prices: Prices,
    points: Sequence[ForecastPoint],
    plan: Plan,
    layers: Sequence[LayerSizes] = (),
) -> list[str]:
    """Sentences for a person, the most important first."""
    if prices.network.size == 1:
        return ["a network of one host: there is nothing to synchronise"]
    last = points[-1]
    said = [_worth(points)]
    if last.limited_by == "computation":
        said.append("computation is the limit: a faster CPU helps, a faster network does not")
    else:
        said += _remedies(profile, prices, plan)
    if layers:
        said.append(_parallelism(layers))
    return said


def _worth(points: Sequence[ForecastPoint]) -> str:
    before, last = points[-2:]
    gain = last.speedup / before.speedup
    best = max(points, key=lambda point: point.speedup)
    if best.speedup < 1.05:
        return (
            "one machine alone is fastest: "
            f"{last.world_size} reach {last.speedup:.2f} times its samples a second"
        )
    verdict = "worth it" if gain >= WORTH_IT else "not worth it"
    return (
        f"{last.world_size} machines instead of {before.world_size} bring {gain:.2f} times the "
        f"samples a second: {verdict}"
    )


def _remedies(profile: Profile, prices: Prices, plan: Plan) -> list[str]:
    """The efficiency that each change would give, best first."""
    faster = Prices(_ten_times(prices.network))
    prices = copy(prices)
    names = {choice.algorithm for _, choice in plan.choices} & set(prices.names)
    prices.names = faster.names = sorted(names) or prices.names

    def efficiency(changed: Profile, on: Prices) -> float:
        return changed.compute_s / step(changed, plan.bucket_bytes, on.best_seconds).step_s

    def alone(changed: Profile) -> float:
        return changed.compute_s / local_step(changed, _LOCAL_STEPS, prices.best_seconds).step_s

    def compressed(name: str) -> Profile:
        return parse_compression(name).compressed(profile, prices.network.size)

    def beside(name: str, steps: int = 1) -> str:
        arithmetic_s = parse_compression(name).arithmetic_s(profile) / steps
        return f", beside {format_duration(arithmetic_s)} of arithmetic on a core"

    now = efficiency(profile, prices)
    remedies = [
        (
            "a batch four times as large on each machine (and its learning rate)",
            efficiency(profile.scaled(4 * profile.compute_s), prices),
            "",
        ),
        ("links ten times as fast", efficiency(profile, faster), ""),
        (f"sync.local_steps = {_LOCAL_STEPS}", alone(profile), ""),
        (
            f"sync.local_steps = {_LOCAL_STEPS} and sync.compression = {_BETWEEN_LOCAL_STEPS}",
            alone(compressed(_BETWEEN_LOCAL_STEPS)),
            beside(_BETWEEN_LOCAL_STEPS, _LOCAL_STEPS),
        ),
    ]
    for name in _COMPRESSIONS:
        change = f"sync.compression = {name}"
        remedies.append((change, efficiency(compressed(name), prices), beside(name)))
    if profile.size_bytes > 2 * SQUEEZENET_BYTES:
        smaller = profile.resized(SQUEEZENET_BYTES / profile.size_bytes)
        remedies.append(
            (
                f"a model as small as SqueezeNet ({format_bytes(SQUEEZENET_BYTES)} of gradients "
                f"instead of {format_bytes(profile.size_bytes)}) with the same computation",
                efficiency(smaller, prices),
                "",
            )
        )
    remedies.sort(key=lambda remedy: -remedy[1])
    return [f"{what}: efficiency {now:.0%} → {better:.0%}{also}" for what, better, also in remedies]


def _ten_times(network: Network) -> Network:
    hosts = tuple(
        replace(host, up_bytes_s=10 * host.up_bytes_s, down_bytes_s=10 * host.down_bytes_s)
        for host in network.hosts
    )
    racks = tuple(
        replace(rack, out_bytes_s=10 * rack.out_bytes_s, in_bytes_s=10 * rack.in_bytes_s)
        for rack in network.racks
    )
    pairs = tuple(tuple(10 * rate for rate in row) for row in network.pair_bytes_s)
    return replace(network, hosts=hosts, racks=racks, pair_bytes_s=pairs)


def _parallelism(layers: Sequence[LayerSizes]) -> str:
    """FireCaffe's comparison: data parallelism sends gradients, |∇W|; model parallelism activations, |D|."""
    weights = sum(layer.weight_bytes for layer in layers)
    activations = sum(layer.activation_bytes for layer in layers)
    heavy = [layer.name for layer in layers if layer.weight_bytes > layer.activation_bytes]
    better = "data" if weights <= activations else "model"
    sentence = (
        f"{better} parallelism sends less: gradients, |∇W|, are {format_bytes(weights)}, and "
        f"activations, |D|, {format_bytes(activations)} a step on each machine"
    )
    if heavy and len(heavy) < len(layers):
        sentence += f"; model parallelism sends less for the layers {', '.join(heavy)}"
    return sentence
