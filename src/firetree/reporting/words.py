"""A verdict in words: the sentence, its evidence, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firetree.network.units import format_bytes, format_duration, format_rate
from firetree.reporting.causes import Suspect
from firetree.reporting.hosts import Hosts, begun
from firetree.reporting.values import Cause, Culprit, StepParts, Unit, Verdict
from firetree.trace import SHARDED


@dataclass(frozen=True, slots=True)
class Scene:
    """What the words are about.

    `again` gives the command that starts the run again, with other options. `rate_bytes_s` is what all links carry
    where they are alike, None where that is not known. `algorithm` sums; `is_planned` says whether it was
    picked for this network.
    """

    hosts: Hosts
    parts: StepParts
    gradient_bytes: int
    again: Callable[[str], str]
    algorithm: str
    is_planned: bool
    rate_bytes_s: float | None = None
    earlier_bytes_s: float | None = None
    since_step: int | None = None

    def share(self, seconds: float) -> str:
        """A part of a step in percent."""
        return percent(seconds / self.parts.step_s if self.parts.step_s else 0.0)

    @property
    def waits(self) -> str:
        """How long workers wait for the network."""
        return f"workers wait for it {self.share(self.parts.network_wait_s)} of a step"


def percent(share: float) -> str:
    """`61%`."""
    return f"{share:.0%}"


def rate(rate_bytes_s: float) -> str:
    """`94.1 Mbit/s`: three digits, as nobody measures more."""
    return format_rate(float(f"{rate_bytes_s * 8:.3g}") / 8)


def verdict_of(suspect: Suspect, scene: Scene, why: tuple[str, ...]) -> Verdict:
    """The verdict on what costs most."""
    say, advise = _SAY[suspect.kind], _ADVICE[suspect.kind]
    advice, command = advise(suspect, scene)
    sentence = say(suspect, scene)
    if scene.since_step is not None:
        sentence = f"{sentence.removesuffix('.')}; so since step {scene.since_step}."
    return Verdict(
        suspect.kind,
        culprit_of(suspect, scene.hosts),
        begun(sentence),
        min(1.0, suspect.share),
        why,
        advice,
        command,
        None,
        scene.since_step,
    )


def culprit_of(suspect: Suspect, hosts: Hosts) -> Culprit:
    """Whose fault it is."""
    return Culprit(
        suspect.ranks,
        tuple(dict.fromkeys(hosts.of(rank) for rank in suspect.ranks)),
        suspect.way,
        suspect.layer,
        suspect.figure,
        suspect.usual,
        _UNITS.get(suspect.kind, "s") if suspect.figure is not None else "",
    )


_UNITS: Mapping[Cause, Unit] = {
    **dict.fromkeys(
        ("slow_upload", "slow_download", "slow_port", "slow_link", "thin_uplink", "network"),
        "bytes/s",
    ),
    "heavy_layer": "share",
    "compute": "share",
    "uneven": "share",
}


def _who(suspect: Suspect, scene: Scene) -> str:
    return scene.hosts.all_called(suspect.ranks)


def _are_many(suspect: Suspect, scene: Scene) -> bool:
    return len({scene.hosts.places[rank] for rank in suspect.ranks}) > 1


def _takes(suspect: Suspect) -> str:
    """`310 ms a step where the others take 150 ms`."""
    usual = _seconds(suspect.usual) if suspect.usual else "none"
    return f"{_seconds(suspect.figure)} a step where the others take {usual}"


def _seconds(value: float | None) -> str:
    return format_duration(value or 0.0)


def _carries(suspect: Suspect, scene: Scene, ways: str = "") -> str:
    """`it carries 48 Mbit/s where the others carry 190 Mbit/s`."""
    usual = rate(suspect.usual or 0.0)
    if scene.earlier_bytes_s:
        return f"it carries {rate(suspect.figure or 0.0)}{ways} where it carried {rate(scene.earlier_bytes_s)}"
    return f"it carries {rate(suspect.figure or 0.0)}{ways} where the others carry {usual}"


def _say_port(what: str, ways: str = "") -> Callable[[Suspect, Scene], str]:
    def say(suspect: Suspect, scene: Scene) -> str:
        if _are_many(suspect, scene):
            return (
                f"The {what}s of {_who(suspect, scene)} hold the run back: the slowest carries "
                f"{rate(suspect.figure or 0.0)}{ways} where others carry {rate(suspect.usual or 0.0)}; "
                f"{scene.waits}."
            )
        owner = scene.hosts.place(scene.hosts.places[suspect.ranks[0]])
        return (
            f"{owner}'s {what} holds the run back: {_carries(suspect, scene, ways)}; {scene.waits}."
        )

    return say


def _say_link(suspect: Suspect, scene: Scene) -> str:
    sender, receiver = (
        scene.hosts.place(scene.hosts.places[rank]) for rank in suspect.way or (0, 0)
    )
    said = f"The way from {sender} to {receiver} holds the run back: {_carries(suspect, scene)}"
    if suspect.may_be_either:
        said += f", by {sender}'s upload or {receiver}'s download"
    return f"{said}; {scene.waits}."


def _say_uplink(suspect: Suspect, scene: Scene) -> str:
    return (
        f"The link that {_who(suspect, scene)} share holds the run back: it carries "
        f"{rate(suspect.figure or 0.0)}"
        + (f", their ports {rate(suspect.usual)}" if suspect.usual else "")
        + f"; {scene.waits}."
    )


def _say_network(suspect: Suspect, scene: Scene) -> str:
    said = f"The network holds the run back: {scene.waits}"
    if scene.hosts.count == 1:
        return f"Sums hold the run back: {scene.waits}, though all are on one host."
    if scene.rate_bytes_s:
        return f"{said}, and all links are alike, with {rate(scene.rate_bytes_s)}."
    return f"{said}, and no link stands out."


def _say_heavy(suspect: Suspect, scene: Scene) -> str:
    share = percent(suspect.figure or 0.0)
    if suspect.usual is not None:
        return (
            f"Layer {suspect.layer} holds the run back: {share} of the backward pass is its own, "
            f"{scene.share(scene.parts.backward_s * (suspect.figure or 0.0))} of a step."
        )
    return (
        f"Layer {suspect.layer} holds the run back: it has {share} of the "
        f"{format_bytes(scene.gradient_bytes)} that are summed in a step; {scene.waits}."
    )


def _say_host(suspect: Suspect, scene: Scene) -> str:
    computes, holds = ("compute", "hold") if _are_many(suspect, scene) else ("computes", "holds")
    return (
        f"{_who(suspect, scene)} {computes} {_takes(suspect)}, and {holds} the run back: "
        f"it costs {percent(suspect.share)} of a step."
    )


def _say_starved(suspect: Suspect, scene: Scene) -> str:
    if not suspect.ranks:
        return (
            "All workers are starved of CPU: they wait for one "
            f"{scene.share(suspect.figure or 0.0)} of a step."
        )
    many = _are_many(suspect, scene)
    return (
        f"{_who(suspect, scene)} {'are' if many else 'is'} starved of CPU: "
        f"{'they wait' if many else 'it waits'} for one {_seconds(suspect.figure)} of a step "
        f"where the others wait {_seconds(suspect.usual)}; it costs {percent(suspect.share)} of a step."
    )


def _say_part(everyone: str, one: str) -> Callable[[Suspect, Scene], str]:
    def say(suspect: Suspect, scene: Scene) -> str:
        if not suspect.ranks:
            return f"{everyone} holds the run back: it takes {scene.share(suspect.figure or 0.0)} of a step."
        return (
            f"{one} {_who(suspect, scene)} holds the run back: it takes {_takes(suspect)}; "
            f"it costs {percent(suspect.share)} of a step."
        )

    return say


def _say_paused(suspect: Suspect, scene: Scene) -> str:
    who = _who(suspect, scene) if suspect.ranks else "all hosts"
    return (
        f"{who} stood still for {_seconds(suspect.figure)} in all, and all others waited: "
        f"{percent(suspect.share)} of the time."
    )


def _say_uneven(suspect: Suspect, scene: Scene) -> str:
    return (
        "Ranks take turns at being last: they wait for each other "
        f"{scene.share(scene.parts.others_wait_s)} of a step, and none is slower than the others."
    )


def _say_compute(suspect: Suspect, scene: Scene) -> str:
    return (
        f"The work itself is the limit: workers compute for {scene.share(scene.parts.compute_s)} of a "
        "step, and no host, link or loader stands out."
    )


_SAY: Mapping[Cause, Callable[[Suspect, Scene], str]] = {
    "compute": _say_compute,
    "network": _say_network,
    "heavy_layer": _say_heavy,
    "slow_upload": _say_port("upload"),
    "slow_download": _say_port("download"),
    "slow_port": _say_port("port", " both ways"),
    "slow_link": _say_link,
    "thin_uplink": _say_uplink,
    "slow_host": _say_host,
    "starved": _say_starved,
    "data": _say_part("Reading data", "Reading data on"),
    "paused": _say_paused,
    "evaluation": _say_part("Evaluation", "Evaluation on"),
    "saving": _say_part("Saving", "Saving on"),
    "uneven": _say_uneven,
    "other": _say_part(
        "What the script does between steps", "What the script does between steps on"
    ),
}

Advice = tuple[str, str]


def _plain(words: str, command: str = "") -> Callable[[Suspect, Scene], Advice]:
    return lambda suspect, scene: (words, command)


_SHARD_WITHIN = (
    "shard within a host and copy between hosts (a mesh of two dimensions for fully_shard)."
)


def _mend(repair: str, way: str, scene: Scene) -> Advice:
    """What to mend, and how sums may go until then."""
    if scene.algorithm == SHARDED:
        return f"{repair}; until then {_SHARD_WITHIN}", ""
    if scene.is_planned:
        return f"{repair}; until then sums go the best way that was found.", ""
    return f"{repair}; until then {way}:", scene.again("auto")


def _advise_port(suspect: Suspect, scene: Scene) -> Advice:
    who = _who(suspect, scene)
    repair = f"See to the cable, switch port or Wi-Fi of {who} (`ethtool INTERFACE` there says what it agreed on)"
    return _mend(repair, "let sums go around it", scene)


def _advise_link(suspect: Suspect, scene: Scene) -> Advice:
    if suspect.may_be_either:
        return "Measure both hosts' ports, started on all hosts as the run was:", "firetree probe"
    return _mend("See what lies between the two", "let sums go around it", scene)


def _advise_uplink(suspect: Suspect, scene: Scene) -> Advice:
    return _mend(
        "Widen it, as by a second cable", "let sums cross it once in each direction", scene
    )


def _advise_network(suspect: Suspect, scene: Scene) -> Advice:
    if scene.hosts.count == 1:
        return "Take a larger batch a worker, or fewer workers on this host.", ""
    if scene.algorithm == SHARDED:
        fewer = "Send fewer bytes: gradients as bfloat16 (reduce_dtype of a MixedPrecisionPolicy)"
        return f"{fewer}, DDP where the model fits into memory, or {_SHARD_WITHIN}", ""
    return (
        "Send fewer bytes, or more seldom: a larger batch a worker, compressed gradients, or faster links:",
        scene.again("int8"),
    )


def _advise_heavy(suspect: Suspect, scene: Scene) -> Advice:
    if suspect.usual is not None:
        return "Make the layer smaller, or look at why it is slow, as with torch.profiler.", ""
    smaller = "Make the layer smaller (a pooling layer before it, a bottleneck, tied weights)"
    if scene.algorithm == SHARDED:
        return f"{smaller}.", ""
    return f"{smaller}, or compress gradients:", scene.again("int8")


def _advise_data(suspect: Suspect, scene: Scene) -> Advice:
    where = f" on {_who(suspect, scene)}" if suspect.ranks else ""
    return (
        f"Load with more processes{where} (DataLoader's num_workers), from a faster disk, or prepare the data "
        "beforehand.",
        "",
    )


def _advise_evaluation(suspect: Suspect, scene: Scene) -> Advice:
    if suspect.ranks:
        return "Evaluate on all ranks, each its share, or more seldom.", ""
    return "Evaluate more seldom, or on fewer examples.", ""


def _advise_saving(suspect: Suspect, scene: Scene) -> Advice:
    return "Save more seldom, to a faster disk, or from a thread of its own.", ""


_ADVICE: Mapping[Cause, Callable[[Suspect, Scene], Advice]] = {
    "compute": _plain(
        "More machines or faster ones help; the network does not hold them back yet."
    ),
    "network": _advise_network,
    "heavy_layer": _advise_heavy,
    "slow_upload": _advise_port,
    "slow_download": _advise_port,
    "slow_port": _advise_port,
    "slow_link": _advise_link,
    "thin_uplink": _advise_uplink,
    "slow_host": _plain(
        "Give it a smaller share of the batch (in a recipe: sync.shares = speed), leave it out, or see why it is "
        "slow: power saving, heat, an older CPU. On that host:",
        "lscpu | grep -E 'Model name|MHz'",
    ),
    "starved": _plain(
        "See what else runs there, how many workers share its CPUs, and OMP_NUM_THREADS. On that host:",
        "top -b -n 1 | head -20",
    ),
    "data": _advise_data,
    "paused": _plain(
        "See what stopped it: a suspended machine, swapping, a debugger. On that host:",
        "dmesg -T | tail",
    ),
    "evaluation": _advise_evaluation,
    "saving": _advise_saving,
    "uneven": _plain(
        "Give ranks batches of equal work: sort sequences by length, or group images by size."
    ),
    "other": _plain(
        "Look at what the script does each step besides training: printing, metrics, plots, .item()."
    ),
}
