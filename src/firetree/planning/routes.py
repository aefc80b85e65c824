"""The links that bytes cross between two hosts of a network, and what each of them carries.

Links that can never be the narrowest are left out. Simulation (`simulate`) and the optimum (`packing`)
both read this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from firetree.network.network import Network, rack_of


class Routes:
    """A network's links by number: `rates_bytes_s` in bytes a second, `names` for a reader, which are `ports`."""

    def __init__(self, network: Network):
        self.rates_bytes_s: list[float] = []
        self.names: list[str] = []
        self._network, self._rack_of = network, rack_of(network)
        self._up, self._down = [
            [self._port(host, direction) for host in range(network.size)]
            for direction in ("up", "down")
        ]
        self.ports = [*self._up, *self._down]
        self._out: dict[int, int] = {}
        self._in: dict[int, int] = {}
        for number, rack in enumerate(network.racks):
            if rack.out_bytes_s < sum(self.rates_bytes_s[self._up[host]] for host in rack.hosts):
                self._out[number] = self._link(f"rack {number} out", rack.out_bytes_s)
            if rack.in_bytes_s < sum(self.rates_bytes_s[self._down[host]] for host in rack.hosts):
                self._in[number] = self._link(f"rack {number} in", rack.in_bytes_s)
        self._medium = self._shared_medium()
        self._memory = self._memories()
        self._pair = self._pairs() if network.pair_bytes_s else {}
        self._known: dict[tuple[int, int], tuple[int, ...]] = {}

    def between(self, sender: int, receiver: int) -> tuple[int, ...]:
        """The links that bytes from one host to another cross; the sender's port comes first."""
        ends = sender, receiver
        if ends not in self._known:
            self._known[ends] = tuple(self._crossed(*ends))
        return self._known[ends]

    def carried_s_byte(self, ends: Iterable[tuple[int, int]], chunks: int) -> list[float]:
        """Seconds a byte for which each link carries a buffer in `chunks`, one for each pair of `ends`."""
        passages = [0.0] * len(self.names)
        for (sender, receiver), times in Counter(ends).items():
            for link in self.between(sender, receiver):
                passages[link] += times / chunks
        rates = self.rates_bytes_s
        return [times / rate for times, rate in zip(passages, rates, strict=True)]

    def _crossed(self, sender: int, receiver: int) -> Iterator[int]:
        from_rack, to_rack = self._rack_of[sender], self._rack_of[receiver]
        yield self._up[sender]
        if from_rack != to_rack and from_rack in self._out:
            yield self._out[from_rack]
        if from_rack != to_rack and to_rack in self._in:
            yield self._in[to_rack]
        yield self._down[receiver]
        yield from self._medium
        if sender in self._memory:
            yield self._memory[sender]
        if (sender, receiver) in self._pair:
            yield self._pair[sender, receiver]

    def _link(self, name: str, rate_bytes_s: float) -> int:
        self.names.append(name)
        self.rates_bytes_s.append(rate_bytes_s)
        return len(self.names) - 1

    def _port(self, number: int, direction: str) -> int:
        host = self._network.hosts[number]
        rate_bytes_s = host.up_bytes_s if direction == "up" else host.down_bytes_s
        if host.byte_s:
            rate_bytes_s = min(rate_bytes_s, 1 / host.byte_s)
        return self._link(f"{self._network.name(number)} {direction}", rate_bytes_s)

    def _pairs(self) -> dict[tuple[int, int], int]:
        """The connections that carry less than the ports at their ends."""
        network, hosts = self._network, range(self._network.size)
        found: dict[tuple[int, int], int] = {}
        for sender, up in enumerate(self._up):
            for receiver in {*hosts} - {sender}:
                rate_bytes_s = network.pair_rate(sender, receiver)
                ports = self.rates_bytes_s[up], self.rates_bytes_s[self._down[receiver]]
                if rate_bytes_s < min(ports):
                    name = f"{network.name(sender)} to {network.name(receiver)}"
                    found[sender, receiver] = self._link(name, rate_bytes_s)
        return found

    def _shared_medium(self) -> list[int]:
        """The medium that all hosts share, which both directions of each of them cross."""
        rates = self.rates_bytes_s
        ports_bytes_s = min(sum(rates[port] for port in ports) for ports in (self._up, self._down))
        if self._network.medium_bytes_s >= ports_bytes_s:
            return []
        return [self._link("the shared medium", self._network.medium_bytes_s)]

    def _memories(self) -> dict[int, int]:
        """What the cores can copy that hosts share: twice for each byte, out of one and into another."""
        found: dict[int, int] = {}
        for machine in self._network.machines:
            byte_s = max(self._network.hosts[host].byte_s for host in machine.hosts)
            wanted_bytes_s = sum(self.rates_bytes_s[self._up[host]] for host in machine.hosts)
            if len(machine.hosts) > 1 and 2 * byte_s * wanted_bytes_s > machine.cores:
                link = self._link("the shared CPU's copying", machine.cores / (2 * byte_s))
                found |= dict.fromkeys(machine.hosts, link)
        return found
