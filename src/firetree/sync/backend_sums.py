"""Sums by torch's own backends, for buckets that no schedule takes: Gloo's on CPUs, NCCL's on GPUs."""

from __future__ import annotations

import contextlib
import os

import torch.distributed as dist
from torch import Tensor

from firetree.errors import UserError
from firetree.peers import WiredGroup
from firetree.torch_private import named_group
from firetree.wires.secret import VARIABLE

IN_CLEAR = (
    f"Gloo's all-reduce cannot be private, and {VARIABLE} asks for it; choose another algorithm, "
    "such as 'binomial_tree', and dense gradients"
)


class BackendSums:
    """The backend of a group's ranks."""

    def __init__(self, group: dist.ProcessGroup, timeout_s: float):
        self._beside, self._timeout_s = group, timeout_s
        self._group = None if isinstance(group, WiredGroup) else group

    def connect(self) -> dist.ProcessGroup:
        """The group that sums, which all ranks connect together when one first asks for it.

        Raises:
            UserError: what is sent is to be private.
            RuntimeError: another rank did not come.
        """
        if self._group is None:
            if os.environ.get(VARIABLE):
                raise UserError(IN_CLEAR)
            name = f"{self._beside.group_name} on gloo"
            self._group = named_group(name, "gloo", self._timeout_s, self._beside)
        return self._group

    def all_reduce(self, buffer: Tensor) -> None:
        """Sum a buffer in place, dense or sparse (errors as `connect`)."""
        dist.all_reduce(buffer, group=self.connect())

    def close(self) -> None:
        """End the group, and the one beside which it was made."""
        for group in {self._group, self._beside} - {None}:
            with contextlib.suppress(ValueError):  # ended with all others
                dist.destroy_process_group(group)
