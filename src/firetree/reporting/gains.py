"""What a change would bring, best first: priced by simulation where the network is known, else from the trace.

A machine's worth is what one machine alone would do that computes as the typical rank does, and waits for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from firetree.models.profile import Gradient, Profile
from firetree.network import Host, Network, Rack
from firetree.network.network import uniform
from firetree.planning.candidates import GLOO, candidate_names
from firetree.planning.compressions import parse_compression
from firetree.planning.repairs import repairs
from firetree.planning.step import step as priced_step
from firetree.reporting.buckets import backward_start_s
from firetree.reporting.causes import Suspect
from firetree.reporting.faults import LinkFault
from firetree.reporting.flows import Place
from firetree.reporting.hosts import Hosts
from firetree.reporting.linkage import Linkage, even_rate
from firetree.reporting.probed import price_s
from firetree.reporting.rounds import StepTable
from firetree.reporting.stretches import network_s
from firetree.reporting.thresholds import (
    MOST_PRICED_HOSTS,
    PREDICTION_ERROR,
    WORTH_TELLING,
)
from firetree.reporting.values import Gain, Verdict
from firetree.trace import SHARDED, TraceHeader

_WORDS = {
    "data": "without waiting for data{of}",
    "starved": "with CPUs of its own{of}",
    "slow_host": "{who} as fast as the others",
    "evaluation": "without evaluation{of}",
    "saving": "without saving{of}",
    "other": "without the script's own work between steps{of}",
}


def gains_of(
    rounds: StepTable, linkage: Linkage, header: TraceHeader, hosts: Hosts, found: Sequence[Suspect]
) -> tuple[Gain, ...]:
    """What changes would bring, of those that bring enough to be told."""
    now = _Now(rounds)
    gains = [*_of_work(now, found, hosts)]
    if basis := _basis(linkage, hosts, header):
        gains += _of_network(now, basis, hosts)
    told = [gain for gain in gains if gain.speedup >= WORTH_TELLING]
    return tuple(sorted(told, key=lambda gain: -gain.speedup))


def gain_for(verdict: Verdict, gains: Sequence[Gain]) -> Gain | None:
    """What it would bring to mend what holds the run back; the best of all where none mends it."""
    mending = [gain for gain in gains if gain.mends == verdict.kind]
    return next(iter(mending or gains), None)


class _Now:
    """A mean step as it is: what ranks compute, what the network takes, and when buckets are ready."""

    def __init__(self, rounds: StepTable):
        self.rounds = rounds
        self.ranks = rounds.work_s.shape[1]
        weights = rounds.weights
        self.work_s = float(np.average(rounds.work_s.max(axis=1), weights=weights))
        self.network_s = float(np.average(network_s(rounds), weights=weights))
        computed_s = (
            rounds.work["forward_s"] + rounds.work["backward_s"] + rounds.work["optimizer_s"]
        )
        self.one_s = float(np.median(rounds.mean(np.maximum(0.0, computed_s - rounds.starved_s))))

    @property
    def step_s(self) -> float:
        return self.work_s + self.network_s

    def gain(self, change: str, step_s: float, mends: str = "", ranks: int | None = None) -> Gain:
        ranks = self.ranks if ranks is None else ranks
        speedup = ranks / step_s / (self.ranks / self.step_s)
        machines = self.ranks * self.one_s / self.step_s
        return Gain(change, speedup, step_s, machines, speedup * machines, mends)

    def profile(self, work_s: float) -> Profile | None:
        """The step's computation with its buckets as gradients; None where there are none."""
        sizes, before_end_s = dict[int, int](), dict[int, list[float]]()
        passes_s = []
        for one in self.rounds.steps:
            for step in one:
                last_s = max((it.ready_s for it in step.buckets), default=0.0)
                for position, bucket in enumerate(step.buckets):
                    sizes[position] = bucket.size_bytes
                    before_end_s.setdefault(position, []).append(last_s - bucket.ready_s)
                if step.buckets:
                    passes_s.append(last_s - backward_start_s(step))
        if not sizes or not any(sizes.values()):
            return None
        backward_s = min(max(median(passes_s), 1e-6), work_s)
        gradients = [
            Gradient(str(k), size, max(0.0, backward_s - median(before_end_s[k])))
            for k, size in sizes.items()
            if size
        ]
        ordered = tuple(sorted(gradients, key=lambda it: it.ready_s))
        return Profile(work_s - backward_s, backward_s, ordered)


def _of_work(now: _Now, found: Sequence[Suspect], hosts: Hosts) -> Iterator[Gain]:
    """What it would bring if ranks lost no time to a cause; from the trace alone."""
    for suspect in found:
        if suspect.kind in _WORDS and suspect.share > 0:
            who = hosts.all_called(suspect.ranks) if suspect.ranks else ""
            change = _WORDS[suspect.kind].format(who=who, of=f" on {who}" if who else "")
            mean_s = now.rounds.mean_parts().step_s
            yield now.gain(change, max(now.step_s - suspect.share * mean_s, 1e-9), suspect.kind)


@dataclass(frozen=True, slots=True)
class _Basis:
    """The network as it is now, and the host of each of its numbers; whether every pair was measured."""

    network: Network
    places: tuple[Place, ...]
    algorithm: str
    is_whole: bool
    fault: str
    repaired: Network | None


def _basis(linkage: Linkage, hosts: Hosts, header: TraceHeader) -> _Basis | None:
    """What the network's changes are priced on; None where too little was measured."""
    algorithm = header.algorithm or GLOO
    fault = linkage.fault
    if linkage.probed and linkage.probed.network.size <= MOST_PRICED_HOSTS:
        network = linkage.probed.network
        places = tuple(hosts.places[rank] for rank in linkage.probed.ranks)
        if linkage.contradicts and fault:
            slow = _with_fault(network, places, fault)
            return _Basis(slow, places, algorithm, True, fault.kind, network)
        kind = fault.kind if fault else ""
        repaired = next((it.network for it in repairs(network) if it.kind == kind), None)
        return _Basis(network, places, algorithm, True, kind, repaired)
    usual = fault.usual_bytes_s if fault else even_rate(linkage)
    if fault and usual and fault.kind == "thin_uplink":
        usual /= len(fault.places)
    if usual is None or not 1 < hosts.count == len(hosts.places) <= MOST_PRICED_HOSTS:
        return None
    even, places = Network(tuple(Host(usual, usual) for _ in hosts.names)), tuple(hosts.places)
    if fault is None:
        return _Basis(even, places, algorithm, False, "", None)
    return _Basis(_with_fault(even, places, fault), places, algorithm, False, fault.kind, even)


def _with_fault(network: Network, places: Sequence[Place], fault: LinkFault) -> Network:
    """The network with what is at fault no faster than it was measured."""
    rate = fault.rate_bytes_s
    at_fault = [k for k, place in enumerate(places) if place in fault.places]
    if fault.kind == "slow_link" and fault.way:
        sender, receiver = (places.index(place) for place in fault.way)
        limits = [[*row] for row in network.pair_bytes_s or uniform(float("inf"), network.size)]
        for a, b in ((sender, receiver), (receiver, sender)):  # Gloo's ring runs the other way
            limits[a][b] = min(limits[a][b], rate)
        return replace(network, pair_bytes_s=tuple(map(tuple, limits)))
    if fault.kind == "thin_uplink":
        rest = tuple(k for k in range(network.size) if k not in at_fault)
        racks = Rack(tuple(at_fault), rate, rate), Rack(rest, rate, rate)
        return replace(network, racks=racks)
    hosts = [*network.hosts]
    for k in at_fault:
        up, down = hosts[k].up_bytes_s, hosts[k].down_bytes_s
        up = up if fault.kind == "slow_download" else min(up, rate)
        down = down if fault.kind == "slow_upload" else min(down, rate)
        hosts[k] = replace(hosts[k], up_bytes_s=up, down_bytes_s=down)
    return replace(network, hosts=tuple(hosts))


def _of_network(now: _Now, basis: _Basis, hosts: Hosts) -> Iterator[Gain]:
    """What other links, fewer bytes, another algorithm or one host less would bring."""
    profile = now.profile(now.work_s)
    if profile is None:
        return
    now_s = _step_s(basis.network, profile, basis.algorithm)
    if not 1 / PREDICTION_ERROR <= now_s / now.step_s <= PREDICTION_ERROR:
        return
    # Predictions are scaled so that the step as it is takes what was measured.
    unit = now.step_s / now_s
    if basis.repaired:
        step_s = unit * _step_s(basis.repaired, profile, basis.algorithm)
        yield now.gain(_REPAIRS.get(basis.fault, "all links alike"), step_s, basis.fault)
    if basis.algorithm == SHARDED:
        return  # nobody can compress or reroute what FSDP sends
    for name in ("fp16", "int8"):
        fewer = parse_compression(name).compressed(profile, basis.network.size)
        yield now.gain(
            f"gradients as {name}", unit * _step_s(basis.network, fewer, basis.algorithm)
        )
    if basis.is_whole:
        yield from _other_algorithm(now, basis, profile, unit)
        yield from _one_host_less(now, basis, unit, hosts)


def _step_s(network: Network, profile: Profile, algorithm: str) -> float:
    """A step's time; buckets smaller than the largest take as much less as they are smaller."""
    if network.size == 1:
        return profile.compute_s
    largest = max(it.size_bytes for it in profile.gradients)
    whole_s = price_s(network, algorithm, largest)
    return priced_step(profile, 1, lambda size: whole_s * size / largest).step_s


_REPAIRS = {
    "slow_upload": "an upload like the others'",
    "slow_download": "a download like the others'",
    "slow_port": "a port like the others'",
    "slow_link": "that way as fast as the others",
    "thin_uplink": "an uplink as wide as its ports",
}


def _other_algorithm(now: _Now, basis: _Basis, profile: Profile, unit: float) -> Iterator[Gain]:
    """The best of the known ones; the network's own forest takes too long to search for."""
    names = {*candidate_names(basis.network)} - {basis.algorithm}
    timed = {name: _step_s(basis.network, profile, name) for name in sorted(names)}
    best = min(timed, key=timed.__getitem__)
    yield now.gain(f"{best} in place of {basis.algorithm}", unit * timed[best])


def _one_host_less(now: _Now, basis: _Basis, unit: float, hosts: Hosts) -> Iterator[Gain]:
    """Without the host that holds the others back most."""
    if basis.network.size < 3 or len({*basis.places}) != basis.network.size:
        return
    found = []
    for out, place in enumerate(basis.places):
        rest = [k for k in range(basis.network.size) if k != out]
        ranks = hosts.ranks(basis.places[k] for k in rest)
        slowest_s = now.rounds.work_s[:, ranks].max(axis=1)
        profile = now.profile(float(np.average(slowest_s, weights=now.rounds.weights)))
        if profile:
            step_s = unit * _step_s(basis.network.of(rest), profile, basis.algorithm)
            found.append(now.gain(f"without {hosts.place(place)}", step_s, ranks=len(ranks)))
    yield from sorted(found, key=lambda gain: -gain.speedup)[:1]
