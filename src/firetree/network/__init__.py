"""What lies between the hosts, as data, and what it allows at best."""

from __future__ import annotations

from firetree.network.bound import lower_bound_s
from firetree.network.network import Network, format_rate, parse_rate
from firetree.network.placement import placement

__all__ = ["Network", "format_rate", "lower_bound_s", "parse_rate", "placement"]
