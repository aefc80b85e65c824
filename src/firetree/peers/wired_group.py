"""A process group of torch.distributed whose collectives travel over wires.

It is the backend `firetree`: `init_process_group` and `new_group` take it by that name, for tensors on
CPUs. Collectives are done when the call returns. What DDP and ranks need is there: all-reduce,
broadcast, all-gather, send, receive and barrier.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

from firetree import collectives
from firetree.collectives.over_wires import OverWires, Reduction
from firetree.collectives.schedule import Operation, Schedule, recv, send
from firetree.errors import CollectiveError
from firetree.peers import reach
from firetree.peers.store_exchange import StoreExchange
from firetree.wires import Mesh, connect, given_secret

BACKEND = "firetree"

_SMALL_BYTES = 1 << 18
"""Up to here a tree is fastest, from there on a ring."""


def _maximum(one: Tensor, other: Tensor) -> Tensor:
    return torch.maximum(one, other, out=one)


def _minimum(one: Tensor, other: Tensor) -> Tensor:
    return torch.minimum(one, other, out=one)


_REDUCTIONS: tuple[tuple[Any, Reduction], ...] = (
    (dist.ReduceOp.SUM, Tensor.add_),
    (dist.ReduceOp.MAX, _maximum),
    (dist.ReduceOp.MIN, _minimum),
)


class WiredGroup(dist.ProcessGroup):
    """The ranks of a mesh as a process group, which ends with it."""

    def __init__(self, mesh: Mesh, name: str):
        super().__init__(mesh.rank, mesh.world_size)  # type: ignore[call-arg]
        self.mesh = mesh
        self._name = name
        self._turn = threading.Lock()
        self._carriers: dict[object, OverWires] = {}

    def getBackendName(self) -> str:
        """For torch, as all of the following."""
        return BACKEND

    def getGroupName(self) -> str:
        return self._name

    def shutdown(self) -> None:
        self.mesh.close()

    abort = shutdown

    def allreduce(  # type: ignore[override]
        self, tensors: Sequence[Tensor], opts: Any = None
    ) -> dist.Work:
        operation = dist.ReduceOp.SUM if opts is None else opts.reduceOp
        reduce = next((it for known, it in _REDUCTIONS if operation == known), None)
        if reduce is None:
            raise NotImplementedError(f"{BACKEND} has SUM, MAX and MIN; expected one of them")
        for tensor in tensors:
            name = "binomial_tree" if tensor.nbytes <= _SMALL_BYTES else "ring"
            made = name, self.size(), collectives.chunks_for(name, self.size(), tensor.nbytes)
            self._follow(made, partial(collectives.build, *made), tensor, reduce)
        return _Done([*tensors])

    def broadcast(  # type: ignore[override]
        self, tensors: Sequence[Tensor], opts: Any = None
    ) -> dist.Work:
        root = 0 if opts is None else opts.rootRank
        for tensor in tensors:
            self._follow(("broadcast", root), partial(_from, root, self.size()), tensor)
        return _Done([*tensors])

    def allgather(  # type: ignore[override]
        self, gathered: Sequence[Sequence[Tensor]], tensors: Sequence[Tensor], opts: Any = None
    ) -> dist.Work:
        for of_ranks, mine in zip(gathered, tensors, strict=True):
            rows = mine.new_empty(self.size(), mine.numel())
            rows[self.rank()] = mine.flatten()
            self._follow("all_gather", lambda: _all_to_all(self.size()), rows)
            for target, row in zip(of_ranks, rows, strict=True):
                target.copy_(row.view(target.shape))
        return _Done([*gathered])

    def send(self, tensors: Sequence[Tensor], peer: int, tag: int = 0) -> dist.Work:
        for tensor in tensors:
            self._exchange(tensor, send(peer, 0))
        return _Done([*tensors])

    def recv(self, tensors: Sequence[Tensor], peer: int, tag: int = 0) -> dist.Work:
        for tensor in tensors:
            self._exchange(tensor, recv(peer, 0))
        return _Done([*tensors])

    def barrier(self, opts: Any = None) -> dist.Work:
        return self.allreduce([torch.zeros(1)])

    def _exchange(self, tensor: Tensor, operation: Operation) -> None:
        def schedule() -> Schedule:
            mine = {self.rank(): (operation,)}
            programs = tuple(mine.get(rank, ()) for rank in range(self.size()))
            return Schedule(self.size(), 1, programs)

        self._follow(operation, schedule, tensor)

    def _follow(
        self,
        key: object,
        schedule: Callable[[], Schedule],
        tensor: Tensor,
        reduce: Reduction = Tensor.add_,
    ) -> None:
        """Carry out a schedule, which is made once for its key."""
        with self._turn:
            if key not in self._carriers:
                self._carriers[key] = OverWires(schedule(), self.mesh)
            numbers = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            flat = numbers.contiguous().view(-1)
            self._carriers[key].carry(flat, reduce)
            if flat.data_ptr() != numbers.data_ptr():
                numbers.copy_(flat.view(numbers.shape))


def _from(root: int, size: int) -> Schedule:
    """A broadcast from any rank."""
    order = [(root + rank) % size for rank in range(size)]
    return collectives.build("binomial_tree", size, 1, "broadcast").with_order(order)


def _all_to_all(size: int) -> Schedule:
    """Each rank's chunk goes to all others at once, which is the fewest steps."""
    others = [[peer for peer in range(size) if peer != rank] for rank in range(size)]
    programs = tuple(
        (*(send(peer, rank) for peer in others[rank]), *(recv(peer, peer) for peer in others[rank]))
        for rank in range(size)
    )
    return Schedule(size, size, programs, "all_gather", tuple(range(size)))


def carrier_of(group: dist.ProcessGroup) -> Mesh | dist.ProcessGroup:
    """What an `Executor` runs over: a group's wires, or NCCL."""
    return group.mesh if isinstance(group, WiredGroup) else group


class _Done(dist.Work):
    """A collective that is over."""

    def __init__(self, result: list[Any]):
        super().__init__()
        self._future: Future[list[Any]] = Future()
        self._future.set_result(result)

    def wait(self, timeout: timedelta | None = None) -> bool:
        return True

    def is_completed(self) -> bool:
        return True

    def get_future(self) -> Future[list[Any]]:
        return self._future


def _create(asked: Any, options: Any) -> WiredGroup:
    """A group as torch asks for it, whose ranks find each other through its store.

    Raises:
        CollectiveError: a rank did not come, or cannot be reached.
    """
    rank, size, timeout_s = asked.group_rank, asked.group_size, asked.timeout.total_seconds()
    names = [*asked.global_ranks_in_group] or [*range(size)]
    if size == 1:
        return WiredGroup(Mesh(0, names, {}, timeout_s), asked.group_id)
    exchange = StoreExchange(asked.store, names, rank, "connecting", timeout_s)
    address = reach.address_for_all(exchange.gather)
    try:
        listener = reach.listen_at(address)
        mesh = connect(exchange.gather, rank, names, listener, timeout_s, given_secret())
    except TimeoutError as error:
        raise CollectiveError(
            f"{error} did not connect to rank {names[rank]} at {address} within {timeout_s:g} s; is TCP "
            "between the hosts blocked?"
        ) from error
    except OSError as error:
        raise CollectiveError(
            f"rank {names[rank]} at {address} cannot connect to the others: {error}"
        ) from error
    return WiredGroup(mesh, asked.group_id)


dist.Backend.register_backend(BACKEND, _create, extended_api=True, devices=["cpu"])
