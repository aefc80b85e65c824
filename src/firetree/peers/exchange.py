"""Sends values between the ranks of a group, as JSON or safetensors in byte tensors.

torch's own object collectives unpickle what a peer sends, so whoever can connect to a rank can run code
there. These functions read data only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from firetree.peers.waiting import waiting

Json = Any
"""What `json` can write: dicts with str keys, lists, str, numbers, True, False, None."""


def gather_json(mine: Json, group: dist.ProcessGroup | None = None) -> list[Json]:
    """The value of each rank, by rank; all ranks of the group call it together, and all get all.

    Args:
        mine: this rank's value; tuples come back as lists.
        group: on Gloo; the default group where it is None.

    Raises:
        TypeError: JSON cannot hold the value.
    """
    text = _bytes_of(json.dumps(mine).encode())
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size(group))]
    with waiting():
        dist.all_gather(lengths, torch.tensor([text.numel()]), group=group)
    longest = max(int(length) for length in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: text.numel()] = text
    texts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(texts, padded, group=group)
    return [
        json.loads(_content(text[: int(length)]))
        for text, length in zip(texts, lengths, strict=True)
    ]


def broadcast_json(value: Json, group: dist.ProcessGroup | None = None) -> Json:
    """The value of the group's first rank, on every rank; the other ranks' values are ignored.

    Raises:
        TypeError: on the first rank, where JSON cannot hold the value.
    """
    return json.loads(_broadcast(lambda: json.dumps(value).encode(), group))


def broadcast_tensors(
    value: Mapping[str, Tensor], group: dist.ProcessGroup | None = None
) -> dict[str, Tensor]:
    """The named tensors of the group's first rank, on every rank, on the CPU."""
    return safetensors.torch.load(_broadcast(lambda: safetensors.torch.save(dict(value)), group))


def hand_over(content: bytes, source: int, target: int) -> bytes:
    """Send the content of rank `source` to rank `target`; both ranks of the default group call it.

    The target's own content is ignored, unless it is the source, too.
    """
    if source == target:
        return content
    length = torch.tensor([len(content)])
    with waiting():
        if dist.get_rank() == source:
            dist.send(length, target)
            dist.send(_bytes_of(content), target)
            return content
        dist.recv(length, source)
        received = torch.empty(int(length), dtype=torch.uint8)
        dist.recv(received, source)
    return _content(received)


def _broadcast(content: Callable[[], bytes], group: dist.ProcessGroup | None) -> bytes:
    """The content of the group's first rank; `content` is called there alone."""
    first = dist.get_rank(group) == 0
    sent = _bytes_of(content()) if first else torch.empty(0, dtype=torch.uint8)
    length = torch.tensor([sent.numel()])
    with waiting():
        dist.broadcast(length, group=group, group_src=0)
    received = sent if first else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(received, group=group, group_src=0)
    return _content(received)


def _bytes_of(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _content(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
