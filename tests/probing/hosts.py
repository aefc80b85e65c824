"""Ranks of a probe on the hosts of a lab: processes that begin with everything imported."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from torch.distributed import FileStore

from firetree.errors import UserError
from firetree.lab import Lab, namespaces
from firetree.probing import Probe, probe_ranks

_CLONE_NEWNET = 0x40000000
_LIMIT_S = 40.0

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["firetree.probing", "firetree.lab", "hosts"])


def probe_lab(
    lab: Lab, folder: Path, struck: Callable[[str], None] = lambda _: None, without: int = -1
) -> dict[int, Probe | str]:
    """What a brief probe gives each rank, or why it ended.

    `struck` is called with each line of rank 0's progress; nobody waits for rank `without`.
    """
    size = lab.network.size
    store = str(folder / "store")
    found: dict[int, Probe | str] = {}
    ranks = {}
    for rank in range(size):
        ours, theirs = CONTEXT.Pipe(duplex=False)
        name = lab.environment(rank)["FIRETREE_HOST"]
        arguments = (namespaces.path(lab.namespace(rank)), name, store, rank, size, theirs)
        process = CONTEXT.Process(target=_run, args=arguments, daemon=True)
        process.start()
        theirs.close()
        ranks[ours] = rank
    while len(found) < size - (without >= 0):
        ready = wait([*ranks], _LIMIT_S)
        assert ready, f"only ranks {sorted(found)} ended"
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                kind, value = pipe.recv()
            except EOFError:
                kind, value = "ended", "killed"
            if kind == "said":
                struck(value)
            else:
                found[ranks.pop(pipe)] = Probe.from_json(value) if kind == "found" else value
    return found


def _run(namespace: Path, name: str, store: str, rank: int, size: int, told: Connection) -> None:
    with namespace.open() as file:
        assert ctypes.CDLL(None).setns(file.fileno(), _CLONE_NEWNET) == 0
    os.environ["FIRETREE_HOST"] = name
    torch.set_num_threads(1)
    try:
        result = probe_ranks(
            *(FileStore(store, size), rank, size),
            brief=True,
            progress=lambda line: told.send(("said", line)),
        )
        told.send(("found", result.to_json()))
    except UserError as error:
        told.send(("failed", str(error)))
