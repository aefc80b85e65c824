"""What the network between hosts carries, measured from the hosts themselves.

`probe` gives a `Network` for planning, with intervals and with warnings that a person can act on. Within a
job, `probe_ranks` is called by all ranks at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firetree.lazy import lazily
from firetree.probing.result import Probe

if TYPE_CHECKING:
    from firetree.probing.probing import probe, probe_ranks

__all__ = ["Probe", "probe", "probe_ranks"]

__getattr__ = lazily(__name__, {"probe": "probing", "probe_ranks": "probing"})
