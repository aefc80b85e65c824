"""Exchanges values between the ranks of a process group through its store, not by collectives.

The store knows which ranks have come, so a missing rank can be named; a collective would only wait.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NoReturn, TypeVar

from torch.distributed import Store

from firetree.errors import CollectiveError
from firetree.peers.exchange import Json
from firetree.peers.rollcall import LONG_S

Result = TypeVar("Result")

_OVER = "over"
_LONGEST_PAUSE_S = 0.05
_STORE_S = 2.0
"""Seconds that the store may take to answer."""


class StoreExchange:
    """Exchanges of values between all ranks of a group.

    A rank may come late by up to `timeout_s`; after `LONG_S` the logger `firetree` hears who is
    missing. All ranks make the exchanges of a group in the same order.

    Args:
        store: what the group's ranks have in common.
        ranks: of the group, as messages call them; global ones.
        rank: this one, in the group.
        place: where ranks meet, as in "firetree.attach"; part of every message.
        timeout_s: how long to wait for the others, in seconds.
    """

    def __init__(self, store: Store, ranks: Sequence[int], rank: int, place: str, timeout_s: float):
        self.ranks, self.rank = [*ranks], rank
        self._place, self._timeout_s = place, timeout_s
        self._store = store
        # Counted in the store, as earlier exchanges have left their keys there.
        self.number = self._asking_store(
            lambda: self._store.add(f"{place}/exchanges of {self.rank}", 1)
        )
        self._rounds = 0

    def gather(self, mine: Json) -> list[Json]:
        """The value of each rank, by its rank in the group.

        Raises:
            CollectiveError: a rank did not come in time, or gave up waiting for this one.
        """
        self._rounds += 1
        told = self._asking_store(lambda: self._tell(mine))
        with contextlib.suppress(
            CollectiveError
        ):  # the store is gone, which only happens after all have read
            self._asking_store(self._let_all_read)
        return told

    def _asking_store(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, with a limit: the store's own calls wait for ever for a silent host."""
        result: Future[Result] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except Exception as error:
                result.set_exception(error)

        threading.Thread(target=run, name="firetree-exchange", daemon=True).start()
        try:
            return result.result(self._timeout_s + _STORE_S)
        except CollectiveError:
            raise
        except (RuntimeError, TimeoutError) as error:
            what = "is stopped or cut off" if isinstance(error, TimeoutError) else "went away"
            raise CollectiveError(
                f"{self._place}: the ranks' store cannot be reached; the rank that keeps it, "
                f"mostly rank 0, {what}"
            ) from error

    def _tell(self, mine: Json) -> list[Json]:
        keys = [self._key(f"{self._rounds}/{rank}") for rank in range(len(self.ranks))]
        self._store.set(keys[self.rank], json.dumps(mine))
        quiet_s = min(LONG_S, self._timeout_s)
        in_time = self._until(lambda: self._store.check(keys), quiet_s)
        if not in_time and (late := self._missing(keys)):
            line = f"{self._place}: waiting for {_names(late)} since {quiet_s:g} s"
            logging.getLogger("firetree").warning(line)
            if not self._until(lambda: self._store.check(keys), self._timeout_s - quiet_s):
                self._give_up(keys)
        if self._store.check([self._key(_OVER)]):
            raise CollectiveError(self._store.get(self._key(_OVER)).decode())
        return [json.loads(self._store.get(key)) for key in keys]

    def _let_all_read(self) -> None:
        """Wait until all have read: the rank that keeps the store may end after this."""
        key = self._key(f"{self._rounds}/read")
        self._store.add(key, 1)
        self._until(lambda: self._store.add(key, 0) == len(self.ranks), self._timeout_s)

    def _key(self, name: str) -> str:
        return f"{self._place}/{self.number}/{name}"

    def _until(self, over: Callable[[], bool], limit_s: float) -> bool:
        """Poll until it is over; False if that takes too long. The store's own wait blocks other threads."""
        deadline_s, pause_s = time.monotonic() + limit_s, 0.001
        while not (done := over()) and time.monotonic() < deadline_s:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return done

    def _missing(self, keys: list[str]) -> list[int]:
        came = [self._store.check([key]) for key in keys]
        return [rank for rank, here in zip(self.ranks, came, strict=True) if not here]

    def _give_up(self, keys: list[str]) -> NoReturn:
        missing = self._missing(keys)
        text = (
            f"{_names(missing)} {'has' if len(missing) == 1 else 'have'} not called {self._place} within "
            f"{self._timeout_s:g} s; call it on every rank of the model's process group"
        )
        self._store.set(self._key(_OVER), text)
        raise CollectiveError(text, missing[0] if missing else None)


def _names(ranks: list[int]) -> str:
    return ", ".join(f"rank {rank}" for rank in ranks)
