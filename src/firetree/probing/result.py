"""What a probe found, as data and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from firetree.documents import from_document, parse_json
from firetree.network import Network, from_json, to_json
from firetree.shown import Shown

PROBE_VERSION = 2


@dataclass(frozen=True, slots=True, repr=False)
class Probe(Shown):
    """The measured network, how sure each figure is, and warnings for the user.

    `intervals` has the 95 % confidence interval of a figure such as `host 3 up` or `rack 0 out`, in bytes a
    second; a host is called as in `network`. Figures in `at_least` are lower limits, as the rest of the way
    carries no more. `remark` says what kind of network has such rates, where they tell. `unmeasured` are the
    ranks that did not answer; `network` lacks them. `sent_bytes` is over all hosts.
    """

    network: Network
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unmeasured: tuple[int, ...] = ()
    seconds: float = 0.0
    sent_bytes: int = 0
    warnings: tuple[str, ...] = ()
    at_least: tuple[str, ...] = ()
    remark: str = ""

    def __repr__(self) -> str:
        return f"Probe({self.network!r}, {len(self.warnings)} warnings)"

    @property
    def summary(self) -> str:
        """What was measured, in a line: what is slow, or else what all ports carry."""
        said = "; ".join(self.warnings) or self.remark or self.network.rates
        return f"measured {self.network.size} hosts in {self.seconds:.1f} s: {said}"

    @property
    def unsure(self) -> float:
        """Half of the width of the widest interval, as a part of its middle; 0.5 at most."""
        widths = [(high - low) / (high + low) for low, high in self.intervals.values() if high > 0]
        return min(0.5, max(widths, default=0.0))

    def to_json(self) -> str:
        """The probe as JSON; the network in it is as `firetree.network.to_json` writes it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        network = json.loads(to_json(self.network))
        document = {"version": PROBE_VERSION, **values, "network": network}
        return json.dumps(document, ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str) -> Probe:
        """Read what `to_json` wrote, also before version 2, which brought `at_least` and `remark`.

        Raises:
            UserError: the text is no probe of this version.
        """
        document = parse_json(dict[str, Any], text, "the probe")
        document["network"] = from_json(json.dumps(document.get("network")))
        version = 1 if document.get("version") == 1 else PROBE_VERSION
        return from_document(Probe, document, "the probe", version)
