"""Faults injected into a lab at given times: a cable, a rate, or the processes of a host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from firetree.errors import UserError
from firetree.lab.description import parse_cores
from firetree.lab.lab import Lab
from firetree.network import parse_rate

Action = Literal["link down", "link up", "rate", "cpu", "pause", "resume", "kill"]

_FORM = re.compile(
    rf"(?P<after>\d+(?:\.\d+)?) (?P<action>{'|'.join(get_args(Action))})"
    r" (?:host )?(?P<host>\d{1,9})(?: (?P<limit>\S+))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An action on a host, `after_s` seconds after the command's start.

    `rate` needs a new rate, and `cpu` the cores that the host's processes may use.
    """

    after_s: float
    action: Action
    host: int
    rate_bytes_s: float | None = None
    cores: float | None = None

    def strike(self, lab: Lab) -> None:
        """Carry out the action now."""
        match self.action:
            case "link down":
                lab.link_down(self.host)
            case "link up":
                lab.link_up(self.host)
            case "rate":
                assert self.rate_bytes_s is not None
                lab.set_rate(self.host, self.rate_bytes_s)
            case "cpu":
                assert self.cores is not None
                lab.limit_cpu(self.host, self.cores)
            case "pause":
                lab.pause(self.host)
            case "resume":
                lab.resume(self.host)
            case "kill":
                lab.kill(self.host)


def parse_fault(text: str, hosts: int) -> Fault:
    """Read `2 link down 3`, `5 rate 3 50mbit`, `9 cpu 3 50%`; `host` may stand before the number.

    Raises:
        UserError: the text is not a fault, or the host does not exist.
    """
    found = _FORM.fullmatch(" ".join(text.split()))
    if not found or (found["limit"] is None) == (found["action"] in ("rate", "cpu")):
        raise UserError(
            f"fault '{text}'; expected seconds, then link down, link up, pause, resume or kill and a "
            "host, or rate or cpu, a host and a limit: '2 link down 3', '5 rate 3 50mbit', '9 cpu 3 50%'"
        )
    host = int(found["host"])
    if host >= hosts:
        raise UserError(f"fault '{text}' on host {host}; the hosts are 0 to {hosts - 1}")
    action = cast(Action, found["action"])
    rate_bytes_s = parse_rate(found["limit"]) if action == "rate" else None
    cores = parse_cores(found["limit"]) if action == "cpu" else None
    return Fault(float(found["after"]), action, host, rate_bytes_s, cores)
