"""The order in which rank 0 measures during a probe.

`team` asks the hosts, `effort` says how much is measured, and `racks` and `conclude` draw conclusions.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from firetree.network.fair import fair_rates
from firetree.probing.conclude import (
    port_rates,
    port_samples,
    unexplained,
    without_shared_links,
)
from firetree.probing.costs import Costs
from firetree.probing.effort import (
    OPTIONAL,
    Effort,
    Link,
    Pair,
    disjoint_rounds,
    fans_at_once,
    loaded_rounds,
    most_seconds,
    within_cores,
)
from firetree.probing.estimate import half_width
from firetree.probing.medium import measure_medium
from firetree.probing.observations import Observations
from firetree.probing.orders import (
    Connect,
    Connected,
    Drain,
    Drained,
    Echo,
    Echoes,
    MeasureCosts,
    MeasureMessages,
    MessageCost,
    Order,
    Peer,
    Ping,
    Stream,
    Streamed,
)
from firetree.probing.racks import LIMITED, Group, RackTrial, suspected
from firetree.probing.team import Team
from firetree.progress import Progress

_FIRST_WINDOW_BYTES = 1 << 18
_WINDOW_S = 0.01
"""Bytes under way, as seconds at the rate: enough for steady rates, with short queues."""
_WINDOWS_BYTES = (1 << 15, 1 << 22)
_STEP_LIMIT_S = 3.0
_FEW_MESSAGES, _MESSAGES = 8, 80
"""Around a ring: the few tell whether all of them would take too long over slow links."""
_FAN = 6
"""How many others fill a host's port, in each direction."""
_MOST_SPREAD = 4
"""How many hosts outside its group each host sends to."""
_LEAST_SPAN = 0.2
_MOST_FASTER = 2.0
"""How much faster than ever before one host may send to another."""
_UNSTEADY = 0.04
_LATE = 2.0
_MOST_ALONE_ROUNDS, _ALONE_REPEATS = 8, 3


class Survey:
    """Measures with a team, step by step; `observed` holds the observations so far."""

    def __init__(self, team: Team, chosen: Effort, seed: int, progress: Progress) -> None:
        self.observed = Observations(hosts=tuple(sorted(team.members)))
        self.sent_bytes = 0
        self._team, self._chosen, self._progress = team, chosen, progress
        most_s = most_seconds(chosen, len(team.members))
        self._optional_until_s = time.monotonic() + OPTIONAL * most_s
        self._dice = random.Random(seed)
        self._totals: dict[Pair, int] = {}
        self._up: dict[int, float] = {}
        self._down: dict[int, float] = {}

    def run(self) -> Observations:
        """Measure everything; each step needs those before it."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("connecting", self._connect),
            ("computation", self._measure_costs),
            ("messages between all", self._measure_messages),
            ("latency", self._measure_latency),
            ("pairs", self._measure_pairs),
            ("a shared medium", lambda: measure_medium(self.observed, self._stream)),
            ("ports", self._measure_ports),
            ("shared links", self._measure_groups),
            ("single connections", self._measure_alone),
        ]
        for what, step in steps:
            self._progress(what)
            step()
            lost = set(self.observed.hosts) - self._team.members.keys()
            if lost:
                self.observed.forget(lost)
            if len(self.observed.hosts) < 2 or self.observed.medium:
                break
        return self.observed

    @property
    def _hosts(self) -> list[int]:
        return sorted(self._team.members)

    def _connect(self) -> None:
        members = self._team.members
        peers = [Peer(rank, member.address, member.port) for rank, member in members.items()]
        self.observed.machine_of = {rank: member.machine for rank, member in members.items()}
        self.observed.cores_of = {rank: member.cores for rank, member in members.items()}
        self.observed.name_of = {rank: member.name for rank, member in members.items()}
        self.observed.interface_of = {rank: it.interface for rank, it in members.items()}
        self.observed.wireless = tuple(rank for rank, it in members.items() if it.is_wireless)
        orders = {
            one.rank: Connect(tuple(peer for peer in peers if peer is not one)) for one in peers
        }
        answers = self._team.ask(orders, Connected, _STEP_LIMIT_S)
        self.observed.unreachable = [
            (a, b) for a in answers for b in answers if a != b and b not in answers[a].reached
        ]

    def _measure_costs(self) -> None:
        """Hosts of one machine take turns, since they would take its cores from each other."""
        left = self._hosts
        while left:
            now = [*{self.observed.machine_of[rank]: rank for rank in reversed(left)}.values()]
            orders = dict.fromkeys(now, MeasureCosts())
            self.observed.costs |= self._team.ask(orders, Costs, _STEP_LIMIT_S)
            left = [rank for rank in left if rank not in now]

    def _measure_messages(self) -> None:
        """What messages cost the cores of a shared machine when all hosts send at once."""
        hosts = self._hosts
        if len({self.observed.machine_of[rank] for rank in hosts}) == len(hosts):
            return
        ring = [*zip(hosts[-1:] + hosts[:-1], hosts, hosts[1:] + hosts[:1], strict=True)]
        for count in (_FEW_MESSAGES, _MESSAGES):
            orders = {rank: MeasureMessages(to, before, count) for before, rank, to in ring}
            start_s = time.monotonic()
            for rank, answer in self._team.ask(orders, MessageCost, _STEP_LIMIT_S).items():
                if answer.message_s is not None:
                    self.observed.ring_message_s[rank] = answer.message_s
            if (time.monotonic() - start_s) * _MESSAGES / _FEW_MESSAGES > _STEP_LIMIT_S:
                return

    def _measure_latency(self) -> None:
        at_once = self._at_once(lambda cores: max(1, cores // 2))
        for pairs in disjoint_rounds(self._hosts):
            for part in within_cores(pairs, self.observed.machine_of, at_once):
                self._note_echoes(part)
        for pair in self._late_pairs():
            if self._has_time():
                self._note_echoes([pair])

    def _note_echoes(self, pairs: Sequence[Pair]) -> None:
        """Keep the faster of two measurements: a busy moment passes, a long way stays long."""
        for pair, times_s in self._ping(pairs).items():
            settled = times_s[2:] or times_s
            self.observed.echoes_s[pair] = min(
                self.observed.echoes_s.get(pair, settled), settled, key=median
            )

    def _late_pairs(self) -> list[Pair]:
        usual_s = {pair: median(times_s) for pair, times_s in self.observed.echoes_s.items()}
        late_s = _LATE * median(usual_s.values()) if usual_s else 0.0
        return [pair for pair, time_s in usual_s.items() if time_s > late_s]

    def _measure_pairs(self) -> None:
        slow_to_start = any(
            median(times) > 0.005 for times in self.observed.echoes_s.values() if times
        )
        for flows in loaded_rounds(self._hosts, 3 if slow_to_start else 1, self._dice):
            self._stream(flows)
        for flows in loaded_rounds(self._hosts, self._chosen.pair_rounds, self._dice):
            self.observed.rounds.append(self._stream(flows))

    def _measure_ports(self) -> None:
        hosts = self._hosts
        if len(hosts) == 2:
            for flows in self.observed.rounds:
                for (a, b), rate in flows.items():
                    self.observed.up.setdefault(a, []).append(rate)
                    self.observed.down.setdefault(b, []).append(rate)
            return
        at_once = 1 if self._may_share() else fans_at_once(len(hosts))
        for _ in range(self._chosen.fan_repeats):
            for start in range(0, len(hosts), at_once):
                self._fan(hosts[start : start + at_once])
        for _ in range(self._chosen.fan_repeats):
            for host in hosts:
                if self._unsteady(host) and self._has_time():
                    self._fan([host])

    def _may_share(self) -> bool:
        """Whether some pair was much slower than its ports, as far as these are known by now."""
        return any(
            rate < LIMITED * min(self._up[a], self._down[b])
            for flows in self.observed.rounds
            for (a, b), rate in flows.items()
        )

    def _has_time(self) -> bool:
        return time.monotonic() < self._optional_until_s

    def _unsteady(self, host: int) -> bool:
        samples = port_samples(self.observed).get(host, ())
        return any(len(rates) > 1 and half_width(rates) > _UNSTEADY for rates in samples)

    def _fan(self, hosts: Sequence[int]) -> None:
        """Each of the hosts sends to several others, and receives from them, at the same time."""
        taken = set(hosts)
        flows: list[Pair] = []
        for host in hosts:
            partners = self._partners(host, taken)
            taken |= set(partners)
            self.observed.fans.setdefault(host, []).append(tuple(partners))
            flows += [pair for other in partners for pair in ((host, other), (other, host))]
        rates = self._stream(flows)
        for host in hosts:
            for table, side in ((self.observed.up, 0), (self.observed.down, 1)):
                total = sum(rate for pair, rate in rates.items() if pair[side] == host)
                if total:
                    table.setdefault(host, []).append(total)

    def _partners(self, host: int, taken: set[int]) -> list[int]:
        """Half of them the hosts it was fastest with, the other half at random."""
        others = [other for other in self._hosts if other not in taken]
        self._dice.shuffle(others)
        pairs = self.observed.pair_rates()

        def best(other: int) -> float:
            both = pairs.get((host, other), []) + pairs.get((other, host), [])
            return max(both, default=0.0)

        fastest = sorted(others, key=best, reverse=True)[: _FAN // 2]
        rest = [other for other in others if other not in fastest]
        return fastest + rest[: _FAN - len(fastest)]

    def _measure_groups(self) -> None:
        hosts = self._hosts
        ports = port_rates(self.observed)
        for group in suspected(hosts, self.observed.pair_rates(), ports):
            outside = [host for host in hosts if host not in group]
            if len(group) > 1 and outside and ports.keys() >= set(hosts):
                self.observed.trials += self._try_group(group, outside, ports)

    def _try_group(
        self, group: Group, outside: Sequence[int], ports: Mapping[int, tuple[float, float]]
    ) -> list[RackTrial]:
        sums: list[tuple[float, float]] = []
        allowed: list[tuple[float, float]] = []
        for _ in range(self._chosen.trial_repeats):
            out = _spread(group, self._dice.sample(outside, len(outside)))
            flows = [*out, *((b, a) for a, b in out)]
            rates = self._stream(flows)
            inside = set(group)
            leaving = sum(rate for (a, _), rate in rates.items() if a in inside)
            coming = sum(rate for (_, b), rate in rates.items() if b in inside)
            if leaving and coming:
                sums.append((leaving, coming))
                allowed.append((_by_ports(out, ports), _by_ports([(b, a) for a, b in out], ports)))
        if not sums:  # nothing came through in time, so nothing can be said
            return []
        out_bytes_s, in_bytes_s = zip(*sums, strict=True)
        of_ports = (median(rates) for rates in zip(*allowed, strict=True))
        return [RackTrial(group, out_bytes_s, in_bytes_s, *of_ports)]

    def _measure_alone(self) -> None:
        pairs = unexplained(self.observed)
        for _ in range(_MOST_ALONE_ROUNDS):
            if not (pairs and self._has_time()):
                return
            part = without_shared_links(pairs, self.observed)
            pairs = [pair for pair in pairs if pair not in part]
            for _ in range(_ALONE_REPEATS):
                for pair, rate in self._stream(part).items():
                    self.observed.alone.setdefault(pair, []).append(rate)

    def _ping(self, pairs: Sequence[Pair]) -> dict[Pair, list[float]]:
        pairs = [pair for pair in pairs if self._team.members.keys() >= set(pair)]
        orders: dict[int, Order] = {}
        for a, b in pairs:
            orders[b] = Echo(a, self._chosen.pings)
            orders[a] = Ping(b, self._chosen.pings)
        answers = self._team.ask(orders, Echoes, _STEP_LIMIT_S)
        echoes_s = {(a, b): [*answers[a].times_s] for a, b in pairs if a in answers}
        for pair, times_s in echoes_s.items():
            self._totals[pair] = self._totals.get(pair, 0) + len(times_s)
            self.sent_bytes += len(times_s)
        return {pair: times_s for pair, times_s in echoes_s.items() if times_s}

    def _stream(self, flows: Sequence[Pair]) -> dict[Pair, float]:
        """Run these flows at once for a span; returns the rate at which each arrived."""
        flows = [pair for pair in flows if self._team.members.keys() >= set(pair)]
        add_up = any(len({pair[side] for pair in flows}) < len(flows) for side in (0, 1))
        span_s = self._span_s(flows)
        orders = {
            host: Stream(
                tuple((b, self._window(a, b, flows)) for a, b in flows if a == host),
                tuple(a for a, b in flows if b == host),
                span_s,
                _allowance(host, flows, self._chosen.most_bytes),
                add_up,
            )
            for host in dict.fromkeys(host for pair in flows for host in pair)
        }
        answers = self._team.ask(orders, Streamed, span_s)
        self._let_drain(answers)
        rates = {
            (a, b): rate
            for b, answer in answers.items()
            for a, rate in answer.rates
            if rate > 0 and a in answers
        }
        for best, side in ((self._up, 0), (self._down, 1)):
            for host in orders:
                total = sum(rate for pair, rate in rates.items() if pair[side] == host)
                best[host] = max(best.get(host, 0.0), total)
        return rates

    def _let_drain(self, answers: Mapping[int, Streamed]) -> None:
        totals: dict[int, list[Pair]] = {}
        for a, answer in answers.items():
            for b, total_bytes in answer.sent:
                self.sent_bytes += total_bytes - self._totals.get((a, b), 0)
                self._totals[a, b] = total_bytes
                if b in answers:
                    totals.setdefault(b, []).append((a, total_bytes))
        orders = {b: Drain(tuple(senders)) for b, senders in totals.items()}
        self._team.ask(orders, Drained, _STEP_LIMIT_S)

    def _span_s(self, flows: Sequence[Pair]) -> float:
        """How long to stream, so that the fastest host does not run out of bytes before the others."""
        longest_s = self._chosen.span_s
        for host in {a for a, _ in flows}:
            sent = sum(self._likely(*pair) for pair in flows if pair[0] == host)
            most_bytes = _allowance(host, flows, self._chosen.most_bytes)
            longest_s = min(longest_s, most_bytes / max(1.0, min(sent, self._up.get(host, 0.0))))
        return max(_LEAST_SPAN * self._chosen.span_s, longest_s)

    def _likely(self, a: int, b: int) -> float:
        """The most that a will send to b, as far as measurements tell; 0 where there are none."""
        most = min(self._up.get(a, 0.0), self._down.get(b, 0.0))
        known = self.observed.pair_rates().get((a, b))
        return min(most, _MOST_FASTER * max(known)) if known else most

    def _window(self, a: int, b: int, flows: Sequence[Pair]) -> int:
        """How many bytes may be under way from a to b beside the other flows of both."""
        sharing = max(sum(pair[0] == a for pair in flows), sum(pair[1] == b for pair in flows))
        least, most = _WINDOWS_BYTES
        if not (self._up.get(a) and self._down.get(b)):
            return max(least, _FIRST_WINDOW_BYTES // sharing)
        echoes_s = self.observed.echoes_s.get((min(a, b), max(a, b)), [0.0])
        rate = min(self._likely(a, b), self._up[a] / sharing, self._down[b] / sharing)
        return int(min(most, max(least, rate * (_WINDOW_S + 3 * median(echoes_s)))))

    def _at_once(self, allowed: Callable[[int], int]) -> dict[str, int]:
        cores: dict[str, int] = {}
        for rank, machine in self.observed.machine_of.items():
            cores[machine] = max(cores.get(machine, 1), self.observed.cores_of[rank])
        shared = [*self.observed.machine_of.values()]
        return {
            machine: allowed(count) if shared.count(machine) > 1 else len(shared)
            for machine, count in cores.items()
        }


def _spread(group: Sequence[int], outside: Sequence[int]) -> list[Pair]:
    """Flows from each host of the group to some outside, spread evenly over those."""
    each = max(1, min(_MOST_SPREAD, len(outside), -(-2 * len(outside) // len(group))))
    flows = {
        (host, outside[(index * each + k) % len(outside)])
        for index, host in enumerate(group)
        for k in range(each)
    }
    return sorted(flows)


def _allowance(host: int, flows: Sequence[Pair], most_bytes: int) -> int:
    """How much a host may send, so that neither it nor a receiver moves over `most_bytes`."""
    receivers = [b for a, b in flows if a == host]
    busiest = max((sum(pair[1] == b for pair in flows) for b in receivers), default=1)
    return most_bytes * len(receivers) // max(busiest, len(receivers), 1)


def _by_ports(flows: Sequence[Pair], ports: Mapping[int, tuple[float, float]]) -> float:
    """The flows' total rate if only ports limit them."""
    rates: dict[Link, float] = {}
    for host, (up, down) in ports.items():
        rates["up", host], rates["down", host] = up, down
    return sum(fair_rates([(("up", a), ("down", b)) for a, b in flows], rates))
