"""What the network between hosts carries, measured from the hosts themselves.

`probe` gives a `Network` for planning, with intervals and with warnings that a person can act on. Within a
job, `probe_ranks` is called by all ranks at once.
"""

from __future__ import annotations

from firetree.probing.probing import probe, probe_ranks
from firetree.probing.result import Probe

__all__ = ["Probe", "probe", "probe_ranks"]
