"""The probe as a whole: rank 0 leads it in a thread, and every rank takes part."""

from __future__ import annotations

import socket
import threading
import time

from torch._C._distributed_c10d import Store

from firetree.errors import RunFailedError, UserError
from firetree.peers.reach import known_address, listening_at
from firetree.probing.advice import warnings
from firetree.probing.agent import take_part
from firetree.probing.conclude import conclude, port_rates
from firetree.probing.meeting import Meeting, call_meeting, find_meeting
from firetree.probing.plan import Effort, effort, most_bytes, most_seconds
from firetree.probing.result import Probe
from firetree.probing.survey import Survey
from firetree.probing.team import Show, Team

JOIN_S = 60.0
"""How long to wait for hosts that have not come yet."""


def probe(
    store: Store,
    rank: int,
    world_size: int,
    *,
    brief: bool = False,
    seed: int = 0,
    show: Show | None = None,
    join_s: float = JOIN_S,
) -> Probe:
    """Measure the network between all ranks, which call this at the same time; all get the same.

        found = firetree.probing.probe(store, dist.get_rank(), dist.get_world_size(), brief=True)

    Args:
        store: reaches all ranks; only the address of rank 0 goes through it.
        rank: this rank, from 0.
        world_size: how many ranks there are, 2 or more, one a host.
        brief: about 3 s for 4 hosts, with less confidence.
        seed: of the order in which pairs are measured.
        show: is given, on rank 0, lines that say what is being done.
        join_s: how long to wait for ranks that have not come, in seconds.

    Raises:
        UserError: a single rank.
        RunFailedError: rank 0 is lost, this rank was left out since it did not answer in time, or
            rank 0 is the only one that answers.
    """
    if world_size < 2:
        raise UserError(f"a probe of {world_size} host; expected 2 or more, or --workers 2")
    if rank:
        return take_part(find_meeting(store, rank, join_s), rank, join_s)
    address = known_address()
    with listening_at(address or "") as listener:
        meeting = call_meeting(store, listener, address)
        lead = _Lead(listener, meeting, world_size, effort(world_size, brief), seed, show)
        lead.start(join_s)
        try:
            return take_part(meeting, 0, join_s)
        finally:
            lead.finish()


def announce(hosts: int, brief: bool) -> str:
    """How long a probe takes and what it sends, both at most."""
    chosen = effort(hosts, brief)
    seconds, sent_gb = most_seconds(chosen, hosts), most_bytes(chosen, hosts) / 1e9
    return f"probing {hosts} hosts: at most {seconds:.0f} s and {sent_gb:.2g} GB over all links"


class _Lead:
    """Rank 0's thread that leads the probe; its failure is raised where `finish` is called."""

    def __init__(
        self,
        listener: socket.socket,
        meeting: Meeting,
        world_size: int,
        chosen: Effort,
        seed: int,
        show: Show | None,
    ) -> None:
        self._listener, self._meeting = listener, meeting
        self._team = Team(world_size)
        self._chosen, self._seed, self._show = chosen, seed, show or _say_nothing
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guard, name="firetree-probe-lead", daemon=True)
        self._join_s = JOIN_S

    def start(self, join_s: float) -> None:
        self._join_s = join_s
        self._thread.start()

    def finish(self) -> None:
        self._thread.join(timeout=5.0)
        if self._error is not None:
            raise self._error

    def _guard(self) -> None:
        try:
            self._lead()
        except BaseException as error:
            self._error = error
            self._team.end({"do": "fail", "why": f"rank 0 could not lead the probe: {error}"})
        finally:
            self._team.close()

    def _lead(self) -> None:
        self._team.gather(self._listener, self._meeting, self._join_s)
        start_s = time.monotonic()
        survey = Survey(self._team, self._chosen, self._seed, self._show)
        seen = survey.run()
        if len(port_rates(seen)) < 2:
            raise RunFailedError("no two hosts answered; expected the others to run this as well")
        lost = tuple(
            rank
            for rank in range(self._team.world_size)
            if rank not in port_rates(seen) or rank not in seen.costs
        )
        network, intervals = conclude(seen, renamed=bool(lost))
        found = Probe(
            network,
            intervals,
            lost,
            time.monotonic() - start_s,
            survey.sent_bytes,
            tuple(warnings(network, intervals, lost, seen.unreachable)),
        )
        self._team.end({"do": "end", "probe": found.to_json()})


def _say_nothing(_: str) -> None:
    return
