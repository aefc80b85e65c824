"""The network between hosts as data, with its JSON and one-line notation."""

from __future__ import annotations

from firetree.network.document import from_json, to_json
from firetree.network.network import Host, Machine, Network, Rack, rack_of
from firetree.network.notation import parse_network
from firetree.network.units import format_duration, format_rate, parse_duration, parse_rate

__all__ = [
    "Host",
    "Machine",
    "Network",
    "Rack",
    "format_duration",
    "format_rate",
    "from_json",
    "parse_duration",
    "parse_network",
    "parse_rate",
    "rack_of",
    "to_json",
]
