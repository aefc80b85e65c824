"""How a job's ranks meet: each connects with rank 0, which keeps the store of `peers` for them.

Rank 0 listens at MASTER_ADDR alone if it can, else at all its addresses, until all have come. The
others try until their time is up, and say what failed: the name, a refused connection, or no answer.
Under torchrun MASTER_PORT is the agent's own, which tells the others only where rank 0 listens.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, nullcontext
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import Store, TCPStore

from firetree.errors import RunFailedError, UserError
from firetree.launch.rank_info import STORE_SOCKET, RankInfo, port_refused
from firetree.peers import WiredStore, reach
from firetree.wires import AbsentError, Listener, given_secret, greeting

_TRY_S = 5.0
_PAUSE_S = 0.1
_HEARING_S = 5.0
"""So much longer than rank 0 the others wait for those who are absent: it tells who they are."""


def open_store(rank_info: RankInfo, limit_s: float) -> Store:
    """The store that rank 0 keeps, once all ranks have come to it; all call this.

    MASTER_ADDR and MASTER_PORT are in the environment from now on, as with torchrun.

    Raises:
        UserError: the port is in use, the address does not resolve, or there is no such secret.
        RunFailedError: rank 0 cannot be reached, or a rank does not come, within the limit.
    """
    os.environ |= {"MASTER_ADDR": rank_info.master_addr, "MASTER_PORT": str(rank_info.master_port)}
    until_s = time.monotonic() + limit_s
    under_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    agent = _Agent(rank_info, until_s, limit_s) if under_torchrun else None
    if rank_info.rank == 0:
        return _wait_for_all(rank_info, agent, until_s, limit_s)
    port = agent.ask_port() if agent else rank_info.master_port
    return WiredStore.kept_by(_come(rank_info, port, until_s, limit_s), limit_s)


def _wait_for_all(
    rank_info: RankInfo, agent: _Agent | None, until_s: float, limit_s: float
) -> Store:
    """As rank 0, the store, once all others have come."""
    listening = _listening(rank_info, 0 if agent else rank_info.master_port)
    with closing(Listener(listening, given_secret())) as listener:
        others = range(1, rank_info.world_size)
        try:
            with agent.telling_port(listener.port) if agent else nullcontext():
                streams = listener.accept(_token(rank_info), others, until_s)
        except AbsentError as error:
            text = _absent(rank_info, error.ranks, limit_s)
            for stream in error.here.values():
                _welcome(stream, text)
            raise RunFailedError(text) from error
    for stream in streams.values():
        _welcome(stream, None)
    return WiredStore.kept_for(streams, limit_s)


def _welcome(stream: socket.socket, failure: str | None) -> None:
    """Tell a rank that all are here, or why the job ends; one that is gone is noticed later."""
    stream.settimeout(_HEARING_S)
    try:
        stream.sendall(json.dumps(failure).encode() + b"\n")
    except OSError:
        stream.close()


def _absent(rank_info: RankInfo, ranks: list[int], limit_s: float) -> str:
    named = f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
    return (
        f"{named} of {rank_info.world_size} did not come to {rank_info.master_addr}:"
        f"{rank_info.master_port} within {limit_s:g} s; start the same command on every host"
    )


def _come(rank_info: RankInfo, port: int, until_s: float, limit_s: float) -> socket.socket:
    """A connection to rank 0, which has greeted this rank and all others."""
    stream = _connect(rank_info, port, until_s, limit_s)
    stream.settimeout(limit_s + _HEARING_S)
    try:
        if secret := given_secret():
            stream = secret.calling(stream)
        stream.sendall(greeting(_token(rank_info), rank_info.rank))
        with stream.makefile("rb") as lines:
            failure = json.loads(lines.readline(1 << 16))
    except ssl.SSLCertVerificationError as error:
        raise _unreachable(rank_info, "it has another secret") from error
    except TimeoutError as error:
        raise _unreachable(
            rank_info,
            f"no word from it within {limit_s:g} s; is what listens there rank 0 of this job?",
        ) from error
    except (OSError, ValueError) as error:
        why = "it hung up: it ended, is another program, or has another world size or secret"
        raise _unreachable(rank_info, why) from error
    if failure:
        raise RunFailedError(failure)
    return stream


def _token(rank_info: RankInfo) -> bytes:
    """The greeting's token: only ranks of a job of this size are let in."""
    return hashlib.sha256(f"{rank_info.world_size} ranks".encode()).digest()


class _Agent:
    """torchrun's own store, which outlives the workers and has what earlier attempts wrote there.

    No variable tells all workers which attempt this is. So each asks rank 0 by a random key of its own,
    and rank 0 answers all questions, also those of dead workers.
    """

    def __init__(self, rank_info: RankInfo, until_s: float, limit_s: float):
        self._rank_info, self._until_s = rank_info, until_s
        with _connect(rank_info, rank_info.master_port, until_s, limit_s) as stream:
            address = str(stream.getpeername()[0])
        made: Future[Store] = Future()

        def open_agents() -> None:
            timeout = timedelta(seconds=max(1.0, until_s - time.monotonic()))
            port = rank_info.master_port
            try:
                made.set_result(TCPStore(address, port, timeout=timeout, wait_for_workers=False))
            except BaseException as error:
                made.set_exception(error)

        # In a thread with a limit: torch waits for ever for a server that never answers.
        threading.Thread(target=open_agents, name="firetree-store", daemon=True).start()
        try:
            self._store = made.result(max(1.0, until_s - time.monotonic()))
        except (TimeoutError, dist.DistError) as error:
            why = "the server there is not a PyTorch store"
            raise _unreachable(rank_info, why) from error

    def ask_port(self) -> int:
        """Where rank 0 of this attempt listens."""
        question = secrets.token_hex(8)
        self._store.set(f"question-{self._rank_info.rank}", question)
        try:
            return int(self._store.get(question))
        except dist.DistError as error:
            why = "it did not answer; did it start?"
            raise _unreachable(self._rank_info, why) from error

    @contextmanager
    def telling_port(self, port: int) -> Iterator[None]:
        """Answer all questions, as rank 0, while the block runs."""
        over = threading.Event()

        def answer() -> None:
            asking = [f"question-{rank}" for rank in range(1, self._rank_info.world_size)]
            while not over.wait(_PAUSE_S / 2):
                for key in asking:
                    if self._store.check([key]):
                        self._store.set(self._store.get(key).decode(), str(port))

        thread = threading.Thread(target=answer, name="firetree-answers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_PAUSE_S)


def _listening(rank_info: RankInfo, port: int) -> socket.socket:
    """Listen at the address that MASTER_ADDR has on all hosts if there is one, else at all addresses."""
    if STORE_SOCKET in os.environ:
        return socket.socket(fileno=int(os.environ.pop(STORE_SOCKET)))
    resolved = _resolve(rank_info)
    away = [address for address in resolved if not reach.is_loopback(address)]
    named_so = rank_info.master_addr == "localhost" or rank_info.master_addr in resolved
    if not away and (rank_info.everyone_here or named_so):
        away = resolved[:1]  # all hosts are this one
    where = away[0] if len(away) == 1 and away[0] in reach.own_addresses() else ""
    try:
        return reach.listen_at(where, port)
    except OSError as error:
        raise port_refused(port, error) from error


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


def _connect(rank_info: RankInfo, port: int, until_s: float, limit_s: float) -> socket.socket:
    """A connection to a port of rank 0's host, as soon as something listens there."""
    addresses = _resolve(rank_info)
    failure: OSError
    while True:
        for address in addresses:
            try_s = min(_TRY_S, max(_PAUSE_S, until_s - time.monotonic()))
            try:
                stream = socket.create_connection((address, port), try_s)
                if stream.getsockname() != stream.getpeername():
                    return stream
                stream.close()
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
