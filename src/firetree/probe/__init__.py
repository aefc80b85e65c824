"""What the network between hosts carries, measured from the hosts themselves.

`probe` is called by all ranks at once, from a command or from within a training job; it gives a
`Network` for `price`, with intervals and with warnings that a person can act on.
"""

from __future__ import annotations

from firetree.probe.options import ProbeOptions
from firetree.probe.probing import JOIN_S, announce, probe
from firetree.probe.result import Probe
from firetree.probe.text import as_text

__all__ = ["JOIN_S", "Probe", "ProbeOptions", "announce", "as_text", "probe"]
