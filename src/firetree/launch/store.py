"""The store of a job's rendezvous: torchrun's own, or one that rank 0 serves.

Rank 0 listens at MASTER_ADDR alone if it can, else at all its addresses. The others try until their
time is up, and say what failed: the name, a refused connection, or no answer.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore

from firetree.errors import RunFailedError, UserError
from firetree.launch.rank_info import STORE_SOCKET, RankInfo, port_refused
from firetree.peers import reach

_TRY_S = 5.0
_PAUSE_S = 0.1


def open_store(rank_info: RankInfo, limit_s: float) -> Store:
    """The store at rank 0's address and port, which rank 0 serves; it has no keys of earlier jobs.

    The address and port are in the environment from now on, as with torchrun.

    Raises:
        UserError: the port is in use, or the address does not resolve.
        RunFailedError: the store cannot be reached within the limit.
    """
    os.environ |= {"MASTER_ADDR": rank_info.master_addr, "MASTER_PORT": str(rank_info.master_port)}
    until_s = time.monotonic() + limit_s
    kept_by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serves = rank_info.rank == 0 and not kept_by_torchrun
    address, handed = rank_info.master_addr, dict[str, Any]()
    if serves:
        address, handed["master_listen_fd"] = _own_socket(rank_info)
    else:
        address = _reach(rank_info, until_s, limit_s)
    timeout_s = max(1.0, until_s - time.monotonic())
    make = partial(
        TCPStore,
        address,
        rank_info.master_port,
        is_master=serves,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
        **handed,
    )
    try:
        store = _within(timeout_s, make)
    except (TimeoutError, dist.DistError) as error:
        if serves:
            raise
        raise _unreachable(rank_info, "the server there is not a PyTorch store") from error
    store.set_timeout(
        timedelta(seconds=limit_s)
    )  # and not what is left of it after waiting for rank 0
    return _of_this_attempt(store, rank_info, until_s) if kept_by_torchrun else store


def _within(limit_s: float, make: Callable[[], Store]) -> Store:
    """The result of `make`, with a limit: torch waits for ever for a server that never answers."""
    made: Future[Store] = Future()

    def finish() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    Thread(target=finish, name="firetree-store", daemon=True).start()
    return made.result(limit_s)


def _of_this_attempt(store: Store, rank_info: RankInfo, until_s: float) -> Store:
    """A prefix of torchrun's store for this attempt alone.

    The store outlives the workers, and no variable tells all of them which attempt this is. So rank 0
    draws a random prefix, and answers each worker's question, which has a random key, too.
    """
    if rank_info.rank == 0:
        name = secrets.token_hex(8)
        ours = PrefixStore(name, store)
        _answer(store, ours, name, set(range(1, rank_info.world_size)), until_s)
        return ours
    question = secrets.token_hex(8)
    store.set(f"question-{rank_info.rank}", question)
    try:
        ours = PrefixStore(store.get(question).decode(), store)
    except dist.DistError as error:
        raise _unreachable(rank_info, "it did not answer; did it start?") from error
    ours.set(f"answered-{rank_info.rank}", "")
    return ours


def _answer(store: Store, ours: Store, name: str, missing: set[int], until_s: float) -> None:
    """Answer all questions, also those of dead workers, until each live worker has its answer."""
    while missing and time.monotonic() < until_s:
        for rank in missing:
            if store.check([f"question-{rank}"]):
                store.set(store.get(f"question-{rank}").decode(), name)
        missing = {rank for rank in missing if not ours.check([f"answered-{rank}"])}
        time.sleep(_PAUSE_S / 2)


def _own_socket(rank_info: RankInfo) -> tuple[str, int]:
    """An address at which rank 0 reaches its own store, and the listening socket."""
    if STORE_SOCKET in os.environ:
        return rank_info.master_addr, int(os.environ.pop(STORE_SOCKET))
    listener = _listener(rank_info)
    address = listener.getsockname()[0]
    everywhere = ipaddress.ip_address(address).is_unspecified
    return "127.0.0.1" if everywhere else address, listener.detach()


def _listener(rank_info: RankInfo) -> socket.socket:
    """Listen at the address that MASTER_ADDR has on all hosts if there is one, else at all addresses."""
    resolved = _resolve(rank_info)
    away = [address for address in resolved if not reach.is_loopback(address)]
    named_so = rank_info.master_addr == "localhost" or rank_info.master_addr in resolved
    if not away and (rank_info.everyone_here or named_so):
        away = resolved[:1]  # all hosts are this one
    where = away[0] if len(away) == 1 and away[0] in reach.own_addresses() else ""
    try:
        return reach.listen_at(where, rank_info.master_port)
    except OSError as error:
        raise port_refused(rank_info.master_port, error) from error


def _resolve(rank_info: RankInfo) -> list[str]:
    """The addresses to which MASTER_ADDR resolves on this host."""
    try:
        found = socket.getaddrinfo(
            rank_info.master_addr, rank_info.master_port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"{rank_info.master_addr} does not resolve to an address; set MASTER_ADDR to rank 0's address "
            "on every host"
        ) from error
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


def _reach(rank_info: RankInfo, until_s: float, limit_s: float) -> str:
    """The address at which rank 0's store listens; waits until it does."""
    addresses = _resolve(rank_info)
    failure: OSError
    while True:
        for address in addresses:
            try_s = min(_TRY_S, max(_PAUSE_S, until_s - time.monotonic()))
            try:
                with socket.create_connection((address, rank_info.master_port), try_s) as stream:
                    if stream.getsockname() != stream.getpeername():
                        return address
                failure = ConnectionRefusedError("connected to itself")
            except OSError as error:
                failure = error
        if time.monotonic() > until_s:
            raise _unreachable(rank_info, _explain(failure, limit_s)) from failure
        time.sleep(_PAUSE_S)


def _explain(failure: OSError, limit_s: float) -> str:
    match failure:
        case ConnectionRefusedError():
            return (
                f"nothing listened there within {limit_s:g} s; is it running, and the port right?"
            )
        case TimeoutError():
            return f"no answer within {limit_s:g} s; is MASTER_ADDR right, or a firewall between?"
    return f"{failure.strerror or failure}, for {limit_s:g} s; is MASTER_ADDR right?"


def _unreachable(rank_info: RankInfo, why: str) -> RunFailedError:
    where = f"{rank_info.master_addr}:{rank_info.master_port}"
    return RunFailedError(f"rank {rank_info.rank} cannot reach rank 0 at {where}: {why}")
