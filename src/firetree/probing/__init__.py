"""What the network between hosts carries, measured from the hosts themselves.

`probe` is called by all ranks at once, from a command or from within a training job; it gives a
`Network` for `price`, with intervals and with warnings that a person can act on.
"""

from __future__ import annotations

from firetree.probing.options import ProbeOptions
from firetree.probing.probing import JOIN_S, announce, probe
from firetree.probing.result import Probe
from firetree.probing.text import as_text

__all__ = ["JOIN_S", "Probe", "ProbeOptions", "announce", "as_text", "probe"]
