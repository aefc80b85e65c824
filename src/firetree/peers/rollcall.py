"""Roll call: ranks tell each other where they are, so that all name the rank that failed.

Each rank listens at an address of its own. A rank that has lost another one, has waited for long, or is
asked to stop, exchanges what it knows with all others at once. A killed process refuses the connection,
a stopped one does not answer, and a host without network is unreachable. `verdict` draws the
conclusion. While all goes well, nothing is sent.

A client says the roll's token first; with a secret, both then speak TLS. Who does not know the token is
refused, after `PATIENCE_S` at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch.distributed as dist

from firetree.errors import CollectiveError, UserError
from firetree.peers import reach
from firetree.peers.exchange import Json, gather_json
from firetree.peers.verdict import (
    Absence,
    Conclusion,
    Entry,
    PeerState,
    accusations,
    conclude,
    describe,
    waited_for,
)
from firetree.peers.waiting import OngoingWait, wait_now
from firetree.wires import MOST_WAITING, TOKEN_BYTES, Secret, given_secret, tell_refused

PATIENCE_S = 2.0
"""How long a rank may take to answer the roll."""

LONG_S = 5.0
"""Waits longer than this are reported."""

_LOOK_EVERY_S = 1.0
_MOST_BYTES = 1 << 20
_UNREAD_BYTES = 1 << 12
"""Of a client that has not said the token."""
_SIZE_BYTES = 4
_GO_ON = b"+"


@dataclass(frozen=True, slots=True)
class Member:
    """A rank as the others know it."""

    rank: int
    host: str
    address: str
    port: int


class Stop(NamedTuple):
    """All ranks end before this step, because of the signal `number`."""

    step: int
    number: int


class RollCall:
    """One rank's end of the roll, with a thread that answers the others; `join` opens it.

    `place` says where the rank is, as `step 412`; the training loop keeps it up to date. `stop` is the
    earliest stop that any rank has told. `members` are all ranks, with their hosts. `say` gets a line when this rank has waited for long, and
    another when the wait is over.
    """

    def __init__(
        self,
        rank: int,
        members: Mapping[int, Member],
        token: bytes,
        listener: socket.socket,
        secret: Secret | None = None,
    ) -> None:
        self.rank = rank
        self.place = ""
        self.stop: Stop | None = None
        self.say: Callable[[str], None] = logging.getLogger("firetree").warning
        self.members = members
        self._others = [other for other in members if other != rank]
        self._token, self._secret = token, secret
        self._unknown: dict[asyncio.StreamWriter, None] = {}
        self._refused = 0
        self._interface = reach.interface_of(members[rank].address)
        self._heard: dict[int, Entry] = {}
        self._signed: Entry | None = None
        self._verdict: Conclusion | None = None
        self._signing = threading.Lock()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)),
            name="firetree-rollcall",
            daemon=True,
        )
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Stop answering."""
        self._loop.call_soon_threadsafe(self._over.set)
        if self._thread is not threading.current_thread():
            self._thread.join()
        tell_refused(self._refused)

    def explain(self, error: BaseException, what: str) -> CollectiveError:
        """Who failed, given an error of the executor or the backend during `what`."""
        if isinstance(error, CollectiveError):
            return self.lost(error.where or str(error), error.peer, error.within_s)
        text = backend_error(error)
        limit_ms = re.search(r"[Tt]imed out waiting (\d+)ms", text)
        within_s = int(limit_ms[1]) / 1000 if limit_ms else None
        return self.lost(f"rank {self.rank} was at {what}: {text}", None, within_s)

    def lost(
        self, where: str, peer: int | None = None, within_s: float | None = None
    ) -> CollectiveError:
        """Tell the others that this rank lost a peer, hear them, and conclude who failed.

        It takes at most 1.5 times `PATIENCE_S`, and less if all answer.

        Args:
            where: what this rank was doing.
            peer: the rank that it waited for, if it knows.
            within_s: how long it waited, if it gave up for that reason.
        """
        with self._signing:
            if self._verdict is None:
                self._verdict = self._conclude(where, peer)
            accused = accusations(self._roll()) | ({} if peer is None else {self.rank: peer})
            what = describe(
                self._verdict, self.rank, accused, self._name, self._carrier(), within_s
            )
        ranks = self._verdict.ranks
        return CollectiveError(f"{what} ({where})", ranks[0] if ranks else peer, where, within_s)

    def ended(self, reason: str) -> None:
        """Tell the others that this rank ends by itself, and why."""
        with self._signing:
            if self._signed is None:
                self._signed = Entry(self._next_number(), "ended", reason)
                self._ask(self._others, PATIENCE_S / 2)

    def tell_stop(self, stop: Stop) -> None:
        """Tell all ranks when to end; returns once each has heard it, or is out of reach."""
        self._take(stop)
        unheard = self._others
        while unheard:
            missing = self._ask(unheard, PATIENCE_S)
            unheard = [rank for rank, how in missing.items() if how == "silent"]

    def _take(self, stop: Stop) -> None:
        self.stop = min(self.stop or stop, stop)

    def _conclude(self, where: str, peer: int | None) -> Conclusion:
        self._signed = Entry(self._next_number(), "lost", where, peer)
        missing = self._ask(self._others, PATIENCE_S)
        self._signed = replace(self._signed, number=self._next_number(), missing=missing)
        self._ask([rank for rank in self._others if rank not in missing], PATIENCE_S / 2)
        hosts = {rank: member.address for rank, member in self.members.items()}
        return conclude(self.rank, self._roll(), hosts, has_carrier=not self._carrier())

    def _name(self, *ranks: int) -> str:
        """Names for ranks: `rank 3 (host d)`, without the host where all ranks share one."""
        names = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
        hosts = dict.fromkeys(self.members[rank].host for rank in ranks)
        one_host = len({member.address for member in self.members.values()}) == 1
        return names if one_host else f"{names} (host {', '.join(hosts)})"

    def _carrier(self) -> str:
        """What is wrong with this host's interface; empty if nothing is."""
        return "" if reach.has_carrier(self._interface) else f"{self._interface} has no carrier"

    def _roll(self) -> dict[int, Entry]:
        """The latest entry of each rank."""
        mine = self._signed
        if mine is None:
            state: PeerState = "waits" if wait_now() else "computes"
            mine = Entry(self._next_number(), state, self.place)
        return {**self._heard, self.rank: mine}

    def _next_number(self) -> int:
        return 1 + max((entry.number for entry in self._heard.values()), default=0)

    def _ask(self, ranks: list[int], limit_s: float) -> dict[int, Absence]:
        """Exchange the roll with ranks, all at once; return who did not answer, and how."""
        if not self._thread.is_alive():
            return {}  # closed
        return asyncio.run_coroutine_threadsafe(self._exchange(ranks, limit_s), self._loop).result()

    async def _exchange(self, ranks: list[int], limit_s: float) -> dict[int, Absence]:
        answers = await asyncio.gather(*(self._exchange_with(rank, limit_s) for rank in ranks))
        return {rank: how for rank, how in zip(ranks, answers, strict=True) if how}

    async def _exchange_with(self, rank: int, limit_s: float) -> Absence | None:
        member, writer = self.members[rank], None
        try:
            async with asyncio.timeout(limit_s):
                reader, writer = await asyncio.open_connection(member.address, member.port)
                writer.write(self._token)
                if await reader.readexactly(1) != _GO_ON:
                    return "gone"
                if self._secret:
                    await writer.start_tls(self._secret.as_client)
                writer.write(self._message())
                self._hear(await _read(reader))
        except (ConnectionError, EOFError, ValueError, ssl.SSLError):
            return "gone"  # nobody listens there any more, or another program does
        except TimeoutError:
            return "silent" if writer else "unreachable"
        except OSError:
            return "unreachable"
        finally:
            if writer:
                writer.close()
        return None

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, sock=listener, limit=_UNREAD_BYTES)
        watch = asyncio.create_task(self._watch())
        started.set_result(None)
        await self._over.wait()
        watch.cancel()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A roll that closes during a request cancels it, which asyncio would print.
        given_up = contextlib.suppress(OSError, EOFError, ValueError, asyncio.CancelledError)
        known = False
        with contextlib.closing(writer), given_up:
            async with asyncio.timeout(PATIENCE_S) as limit:
                known = await self._knows_token(reader, writer)
                if not known:
                    return
                writer.write(_GO_ON)
                if self._secret:
                    await writer.start_tls(self._secret.as_server)
                self._hear(await _read(reader))
                writer.write(self._message())
                await writer.drain()
        self._refused += limit.expired() and not known

    async def _knows_token(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether a client does; the one who came first makes room where too many have yet to say it."""
        if len(self._unknown) == MOST_WAITING:
            first = next(iter(self._unknown))
            del self._unknown[first]  # now: its own task runs later than others may come
            first.transport.abort()
            self._refused += 1
        self._unknown[writer] = None
        try:
            known = hmac.compare_digest(await reader.readexactly(TOKEN_BYTES), self._token)
        finally:
            self._unknown.pop(writer, None)
        self._refused += not known
        return known

    def _message(self) -> bytes:
        roll = {rank: asdict(entry) for rank, entry in self._roll().items()}
        text = json.dumps([self.stop, roll]).encode()
        return len(text).to_bytes(_SIZE_BYTES) + text

    def _hear(self, message: bytes) -> None:
        """Take newer entries."""
        stop, roll = json.loads(message)
        if stop:
            self._take(Stop(*stop))
        for rank, entry in roll.items():
            missing = {int(other): how for other, how in entry.pop("missing").items()}
            new = Entry(**entry, missing=missing)
            known = self._heard.get(int(rank))
            if int(rank) != self.rank and (known is None or new.number > known.number):
                self._heard[int(rank)] = new

    async def _watch(self) -> None:
        """Report long waits and their end; the next report waits for at least twice as long."""
        long_s = LONG_S
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            wait = wait_now()
            if wait is None or _age_s(wait) < long_s:
                continue
            missing = await self._exchange(self._others, PATIENCE_S)
            ranks = waited_for(self.rank, self._roll(), missing)
            if not ranks or wait is not wait_now():
                continue
            who = self._name(*ranks)
            if {*missing.values()} == {"unreachable"} and [*ranks] == self._others:
                who += ", which cannot be reached"
            place = f", {self.place}" if self.place else ""
            self.say(f"waiting for {who} since {_age_s(wait):.0f} s{place}")
            while wait is wait_now():
                age_s = _age_s(wait)
                await asyncio.sleep(_LOOK_EVERY_S)
            if self._signed is None:
                self.say(f"{self._name(*ranks)} came after {age_s:.0f} s")
            long_s = max(long_s, 2 * age_s)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next message (ValueError where it is too long)."""
    size = int.from_bytes(await reader.readexactly(_SIZE_BYTES))
    if size > _MOST_BYTES:
        raise ValueError(f"a message of {size} bytes")
    return await reader.readexactly(size)


def _age_s(wait: OngoingWait) -> float:
    return time.monotonic() - wait.since_s


def is_backend_error(error: BaseException) -> bool:
    """Whether Gloo or NCCL failed; they raise RuntimeError for everything."""
    return isinstance(error, RuntimeError) and any(name in str(error) for name in ("gloo", "NCCL"))


def backend_error(error: BaseException) -> str:
    """The first sentence of a backend's error, without its source location."""
    first_line = str(error).partition("\n")[0]
    return first_line.partition("] ")[2].partition(". ")[0] or first_line


def join(gather: Callable[[Json], list[Json]] = gather_json) -> RollCall:
    """Open the roll of some ranks, which call it together; they keep their global ranks.

    Args:
        gather: gathers a value of each of them; by default of all ranks.
    """
    address = reach.address_for_all(gather)
    listener = reach.listen_at(address)
    rank, port = dist.get_rank(), listener.getsockname()[1]
    mine = asdict(Member(rank, reach.host_name(), address, port))
    told = gather([mine, secrets.token_hex(TOKEN_BYTES)])
    members = {member["rank"]: Member(**member) for member, _ in told}
    return RollCall(rank, members, bytes.fromhex(told[0][1]), listener, given_secret())


_open: RollCall | None = None


@contextmanager
def opened() -> Iterator[None]:
    """Open the roll of all ranks, which enter together, while the block runs; `current` finds it.

    Raises:
        CollectiveError: names the rank that failed, in place of the executor's or backend's error.
    """
    global _open
    try:
        roll = _open = join()
    except RuntimeError as error:
        what = f"lost another rank at the start: {backend_error(error)}"
        raise CollectiveError(f"rank {dist.get_rank()} {what}") from error
    try:
        yield
    except BaseException as error:
        if isinstance(error, CollectiveError) or is_backend_error(error):
            raise roll.explain(error, roll.place or "the start") from error
        roll.ended(
            str(error) if isinstance(error, UserError) else f"{type(error).__name__} {error}"
        )
        raise
    finally:
        roll.close()
        _open = None


def current() -> RollCall | None:
    """The open roll, if any."""
    return _open


def at(place: str) -> None:
    """Note in the open roll where this rank is, as `step 412`."""
    if _open is not None:
        _open.place = place
