"""Sentences on a forecast: whether more hosts are worth it, which, and what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from firetree.models.profile import LayerSizes, Profile
from firetree.network.network import Network
from firetree.network.units import format_bytes
from firetree.output import listed
from firetree.planning.changes import Change, times_fewer_bytes
from firetree.planning.scaling import PricedSubset, fastest
from firetree.planning.subsets import called

WORTH_IT = 1.1
"""Each doubling of the hosts has to bring at least this factor of samples a second."""

_HALF = 0.5
"""Machines of which less is used are only worth having where they stand idle."""

_MOST_LAYERS = 4
"""Layers that are named; of more, the number is told."""


def advise(
    profile: Profile,
    network: Network,
    subsets: Sequence[PricedSubset],
    changes: Sequence[Change],
    layers: Sequence[LayerSizes] = (),
) -> list[str]:
    """Sentences for a person, the most important first."""
    if network.size == 1:
        return ["a network of one host: there is nothing to synchronise"]
    best = fastest(subsets)
    if best is subsets[0]:
        said = [_alone(profile, network, subsets)]
    elif best is not subsets[-1]:
        said = [_left_out(network, best, subsets[-1], changes)]
    else:
        said = [_worth(subsets)]
        if best.plan.limited_by == "computation":
            said.append("computation is the limit: a faster CPU helps, a faster network does not")
    if layers:
        said.append(_parallelism(layers))
    return said


def _alone(profile: Profile, network: Network, subsets: Sequence[PricedSubset]) -> str:
    now, several = subsets[-1], max(subsets[1:], key=lambda it: it.speedup)
    how = "about as fast" if now.speedup > 1.0 else "fastest"
    said = f"one machine alone is {how}: {len(now.hosts)} reach {now.speedup:.2f} times its samples a second"
    times = times_fewer_bytes(profile, several)
    if times is None:
        return f"{said}, and no fewer bytes would change that"
    who = "all together" if several is now else called(network, several.hosts)
    return f"{said}; with {times:.2g} times fewer bytes, {who} would be faster"


def _left_out(
    network: Network, best: PricedSubset, now: PricedSubset, changes: Sequence[Change]
) -> str:
    out = called(network, {*now.hosts} - {*best.hosts})
    said = (
        f"leave out {out}: {best.speedup:.2f} times one machine's samples a second in place of "
        f"{now.speedup:.2f}"
    )
    repairs = [it for it in changes if it.effort == "a repair"]
    return "; or ".join([said, *(f"{it.what}: {it.speedup:.2f}" for it in repairs[:1])])


def _worth(subsets: Sequence[PricedSubset]) -> str:
    """Whether all hosts are worth it, against the best of at most half as many."""
    now, fewer = subsets[-1], [it for it in subsets if 2 * len(it.hosts) <= len(subsets[-1].hosts)]
    before = max(fewer, key=lambda it: it.speedup)
    gain = now.speedup / before.speedup
    said = (
        f"{len(now.hosts)} machines instead of {len(before.hosts)} bring {gain:.2f} times the samples "
        "a second"
    )
    if gain < WORTH_IT ** log2(len(now.hosts) / len(before.hosts)):
        said += ": not worth it"
    elif now.efficiency < _HALF:
        said += f", at {now.efficiency:.0%} efficiency: worth it if they stand idle otherwise"
    else:
        said += ": worth it"
    slower = [str(len(it.hosts)) for it in subsets if it.speedup < 1.0]
    return f"{said}; {listed(slower)} are slower than one" if slower else said


def _parallelism(layers: Sequence[LayerSizes]) -> str:
    """FireCaffe's comparison: data parallelism sends gradients, |∇W|; model parallelism activations, |D|."""
    weights = sum(layer.weight_bytes for layer in layers)
    activations = sum(layer.activation_bytes for layer in layers)
    heavy = [
        layer.name or "(the whole)"
        for layer in layers
        if layer.weight_bytes > layer.activation_bytes
    ]
    better = "data" if weights <= activations else "model"
    sentence = (
        f"{better} parallelism sends less: gradients, |∇W|, are {format_bytes(weights)}, and "
        f"activations, |D|, {format_bytes(activations)} a step on each machine"
    )
    if heavy and len(heavy) < len(layers):
        more = f" and {len(heavy) - _MOST_LAYERS} more" if len(heavy) > _MOST_LAYERS else ""
        named = ", ".join(heavy[:_MOST_LAYERS])
        sentence += f"; model parallelism sends less for the layers {named}{more}"
    return sentence
