"""Carry a schedule out over NCCL: its levels are rounds of grouped calls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from firetree.collectives.graph import Graph
from firetree.collectives.rounds import ExchangeRound, plan_rounds
from firetree.collectives.schedule import Schedule, chunk_bounds


class OverNccl:
    """Rounds of grouped point-to-point calls, queued on the current stream; the host waits for none.

    A peer that is lost is noticed by NCCL's own watchdog, within the group's timeout.
    """

    def __init__(self, schedule: Schedule, graph: Graph, group: dist.ProcessGroup):
        self._group = group
        self._peers = dist.get_process_group_ranks(group)
        self._chunks = schedule.chunks
        self._rounds, self._slots = plan_rounds(graph, group.rank())
        self._staging = torch.empty(0, dtype=torch.uint8)

    def carry(self, buffer: Tensor) -> tuple[()]:
        """Queue all rounds on the current stream; NCCL does not say when what moves."""
        bounds = chunk_bounds(buffer.numel(), self._chunks)
        chunks = [buffer[begin:end] for begin, end in itertools.pairwise(bounds)]
        staging = self._staging_for(buffer, max(map(torch.numel, chunks)))
        for round_ in self._rounds:
            calls = self._calls(round_, chunks, staging)
            for work in dist.batch_isend_irecv(calls) if calls else ():
                work.wait()
            for chunk, slot in round_.additions:
                chunks[chunk].add_(staging[slot][: chunks[chunk].numel()])
        return ()

    def _calls(
        self, round_: ExchangeRound, chunks: Sequence[Tensor], staging: Sequence[Tensor]
    ) -> list[dist.P2POp]:
        calls = []
        for op, slot in round_.transfers:
            target = chunks[op.chunk]
            if slot is not None:
                target = staging[slot][: target.numel()]
            if target.numel():
                call = dist.isend if op.kind == "send" else dist.irecv
                calls.append(dist.P2POp(call, target, self._peers[op.peer], self._group))
        return calls

    def _staging_for(self, buffer: Tensor, chunk_elements: int) -> list[Tensor]:
        slot_bytes = chunk_elements * buffer.element_size()
        needed_bytes = slot_bytes * self._slots
        if self._staging.numel() < needed_bytes or self._staging.device != buffer.device:
            self._staging = torch.empty(needed_bytes, dtype=torch.uint8, device=buffer.device)
        whole = self._staging[:needed_bytes].view(buffer.dtype)
        return [*whole.view(self._slots, -1)] if self._slots else []
