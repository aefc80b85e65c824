"""The probe as a whole: rank 0 leads it in a thread, and every rank takes part."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from functools import partial

import torch.distributed as dist
from torch.distributed import PrefixStore, Store

from firetree.errors import ArgumentError, RunFailedError, UserError
from firetree.launch import RankInfo, call, find_rank_info, launch, open_store, share_cores
from firetree.peers.reach import known_address, listen_at
from firetree.probing import rendezvous
from firetree.probing.advice import warnings
from firetree.probing.agent import take_part
from firetree.probing.bounds import lower_limits
from firetree.probing.conclude import conclude, figure_name, port_rates
from firetree.probing.effort import Effort, effort, most_bytes, most_seconds
from firetree.probing.kinds import remark
from firetree.probing.orders import End, Fail
from firetree.probing.result import Probe
from firetree.probing.survey import Survey
from firetree.probing.team import Team
from firetree.progress import Progress, log
from firetree.torch_private import group_store

JOIN_S = 60.0
"""How long to wait for hosts that have not joined yet."""


def probe(
    workers: int | None = None, *, brief: bool = False, seed: int = 0, progress: Progress = log
) -> Probe:
    """Measure the network between the hosts of a job, or between local processes.

    Call it on all ranks at once where torchrun, srun, mpirun or `firetree lab` started them, before
    or after `torch.distributed.init_process_group`; all get the same.

    Args:
        workers: local processes to start, 2 or more, where nobody else started any.
        brief: a few seconds only, with less confidence.
        seed: of the order in which pairs are measured.
        progress: called on rank 0 with a line for each stage.

    Returns:
        The network, how sure each figure is, and what to look at.

    Raises:
        UserError: one host alone.
        RunFailedError: rank 0 is lost, this rank did not answer in time, or no other rank answers rank 0.

    Example:
        >>> firetree.probe(workers=2, brief=True).network
        Network(2 hosts of ...)
    """
    if dist.is_initialized():
        _refuse_others(workers, dist.get_world_size())
        store = PrefixStore("firetree.probe", group_store())
        return _among(store, dist.get_rank(), dist.get_world_size(), brief, seed, progress)
    rank_info = find_rank_info(os.environ)
    if rank_info is not None:
        _refuse_others(workers, rank_info.world_size)
        return _at(rank_info, progress, brief, seed)
    if workers is None or workers < 2:
        raise ArgumentError(
            "workers",
            f"is {workers or 'missing'}, and one host alone has no network; expected 2 or more, or "
            "a start on every host by torchrun, srun or mpirun",
        )
    asked = {"brief": brief, "seed": seed}
    return Probe.from_json(call(partial(launch, workers), _as_worker, asked, progress))


def _refuse_others(workers: int | None, started: int) -> None:
    if workers not in (None, started):
        raise ArgumentError("workers", f"is {workers} among {started} started ones; leave it out")


def _as_worker(rank_info: RankInfo, progress: Progress, brief: bool, seed: int) -> str:
    share_cores(rank_info)
    return _at(rank_info, progress, brief, seed).to_json()


def _at(rank_info: RankInfo, progress: Progress, brief: bool, seed: int) -> Probe:
    store = open_store(rank_info, JOIN_S)
    return _among(store, rank_info.rank, rank_info.world_size, brief, seed, progress)


def _among(
    store: Store, rank: int, world_size: int, brief: bool, seed: int, progress: Progress
) -> Probe:
    if rank == 0:
        progress(announce(world_size, brief))
    return probe_ranks(store, rank, world_size, brief=brief, seed=seed, progress=progress)


def probe_ranks(
    store: Store,
    rank: int,
    world_size: int,
    *,
    brief: bool = False,
    seed: int = 0,
    progress: Progress = log,
    join_s: float = JOIN_S,
) -> Probe:
    """Measure the network between all ranks, which call this at the same time; all get the same.

    Args:
        store: reaches all ranks; only the address of rank 0 goes through it.
        rank: this rank, from 0.
        world_size: how many ranks there are, 2 or more, one a host.
        brief: about 3 s for 4 hosts, with less confidence.
        seed: of the order in which pairs are measured.
        progress: called on rank 0 with what is being measured.
        join_s: seconds to wait for ranks that have not joined.

    Raises:
        UserError: a single rank.
        RunFailedError: as `probe`.
    """
    if world_size < 2:
        raise UserError(f"a probe of {world_size} host; expected 2 or more")
    if rank:
        return take_part(rendezvous.find(store, rank, join_s), rank, join_s)
    address = known_address()
    with listen_at(address or "") as listener:
        here = rendezvous.call(store, listener, address)
        team, chosen = Team(world_size), effort(world_size, brief)
        failures: list[BaseException] = []

        def lead() -> None:
            try:
                result = _survey(team, listener, here, chosen, seed, progress, join_s)
                team.end(End(result.to_json()))
            except BaseException as error:
                failures.append(error)
                team.end(Fail(f"rank 0 could not lead the probe: {error}"))
            finally:
                team.close()

        thread = threading.Thread(target=lead, name="firetree-probe-lead", daemon=True)
        thread.start()
        try:
            return take_part(here, 0, join_s)
        finally:
            thread.join(timeout=5.0)
            if failures:
                raise failures[0]


def announce(hosts: int, brief: bool) -> str:
    """How long a probe takes and what it sends, both at most."""
    chosen = effort(hosts, brief)
    seconds, sent_gb = most_seconds(chosen, hosts), most_bytes(chosen, hosts) / 1e9
    return f"probing {hosts} hosts: at most {seconds:.0f} s and {sent_gb:.2g} GB over all links"


def _survey(
    team: Team,
    listener: socket.socket,
    here: rendezvous.Rendezvous,
    chosen: Effort,
    seed: int,
    progress: Progress,
    join_s: float,
) -> Probe:
    """Lead the probe, as rank 0 does in a thread of its own."""
    team.gather(listener, here, join_s)
    start_s = time.monotonic()
    survey = Survey(team, chosen, seed, progress)
    observed = survey.run()
    measured = port_rates(observed).keys() & observed.costs.keys()
    if len(port_rates(observed)) < 2:
        raise RunFailedError("no two hosts answered; expected the others to run this as well")
    lost = tuple(rank for rank in range(team.world_size) if rank not in measured)
    network, intervals = conclude(observed, renamed=bool(lost))
    at_least = lower_limits(observed)
    found = Probe(
        network,
        intervals,
        lost,
        time.monotonic() - start_s,
        survey.sent_bytes,
        at_least=tuple(figure_name(link, observed) for link in sorted(at_least)),
    )
    advice = tuple(warnings(found, observed))
    return replace(found, warnings=advice, remark=remark(found, observed))
