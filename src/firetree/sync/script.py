"""`attach`: one line after which a DDP script's gradients travel along our schedules."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Literal, overload

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store
from torch.nn.parallel import DistributedDataParallel

from firetree.errors import CollectiveError, UserError
from firetree.observing import watch_model
from firetree.peers import (
    BACKEND,
    Json,
    StoreExchange,
    WiredGroup,
    agree,
    current,
    gather_json,
    join,
    together,
)
from firetree.planning.candidates import GLOO
from firetree.planning.compressions import UNCOMPRESSED, Compression, parse_compression
from firetree.planning.plan import Plan
from firetree.sync.algorithms import FixedAlgorithm, check_algorithm, check_chunks
from firetree.sync.backend_sums import IN_CLEAR
from firetree.sync.choosing import AUTO, Chooser
from firetree.sync.hook import Hook
from firetree.sync.measuring import measure_for_run
from firetree.sync.observed import ObservedSums
from firetree.sync.sharded import ShardedSums, is_sharded, observe_sharded
from firetree.sync.synchroniser import Synchroniser
from firetree.torch_private import (
    comm_hook_of,
    group_store,
    group_timeout_s,
    named_group,
    own_parameters,
    steps_in_backward,
    sums_without_hooks,
)
from firetree.wires.secret import VARIABLE

_WHERE = "firetree.attach"
_MOST_S = 1e6
_REMEDY = (
    "call firetree.attach with the same arguments, for the same models in the same order, on every "
    "rank; models wrapped with init_sync=False need equal weights first"
)


OBSERVE: Literal["observe"] = "observe"
"""The algorithm by which DDP sums as it would, and is only measured."""


@overload
def attach(  # type: ignore[overload-overlap]
    model: DistributedDataParallel,
    algorithm: Literal["observe"],
    *,
    timeout_s: float | None = None,
    run_dir: str | PathLike[str] | None = None,
) -> ObservedSums | ShardedSums: ...
@overload
def attach(
    model: DistributedDataParallel,
    algorithm: str | Plan = AUTO,
    *,
    compression: str = "none",
    chunks: int | None = None,
    timeout_s: float | None = None,
    run_dir: str | PathLike[str] | None = None,
) -> Synchroniser: ...
def attach(
    model: DistributedDataParallel,
    algorithm: str | Plan = AUTO,
    *,
    compression: str = "none",
    chunks: int | None = None,
    timeout_s: float | None = None,
    run_dir: str | PathLike[str] | None = None,
) -> Synchroniser | ObservedSums | ShardedSums:
    """Let the gradients of a DDP model travel along our own schedule instead of DDP's all-reduce.

    Call it once on every rank of the model's process group, right after wrapping the model.
    A sum that fails raises `firetree.CollectiveError` from the backward pass; the model has no
    gradients then.

    Args:
        model: wraps any module; its ranks are those of its process group.
        algorithm: "auto" measures the network where ranks are on several hosts, which takes some
            seconds, takes the cheapest way for each bucket's size, and another one where links change;
            the logger `firetree` hears of it. Or one of `firetree.collectives.names()`, "gloo" for the
            backend's own all-reduce, or a `firetree.Plan`, for whose buckets the model is wrapped with
            `bucket_cap_mb=plan.bucket_bytes / 2**20`. Or "observe", which leaves DDP's own all-reduce as it is.
        compression: `none`, `fp16`, `bf16`, `int8`, `topk:SHARE`, `powersgd:RANK`,
            `sparseloco:SHARE:DECAY`, `turns:TURNS` or `demo:COMPONENTS:DECAY`. Its error is added to the
            next step's gradients, and dropped after a NaN or infinite gradient. PowerSGD is PyTorch's own
            hook and sums by the backend; top-k, SparseLoCo, turns and DeMo gather; the others are summed
            by the algorithm. DeMo wants an optimiser without momentum. Sparse gradients are never compressed,
            and summed by the backend.
        chunks: parts that each bucket is cut into, of four bytes or more; by default what suits the
            algorithm and the bucket's size.
        timeout_s: how long to wait for another rank, in seconds; by default the timeout of the model's
            process group.
        run_dir: where rank 0 writes a run that `firetree report` reads: each step's phases, sums and
            connections. With several models, the same for all. By default none is written.

    Raises:
        UserError: an unknown algorithm, a plan for another model or cluster, a model that DDP does
            not wrap or that has a hook already, PowerSGD on CPUs beside a GPU, PowerSGD or DeMo of
            complex numbers; or ranks that attach with other arguments or models.
        CollectiveError: a rank does not attach.

    Example:
        >>> model = DistributedDataParallel(net)
        >>> attached = firetree.attach(model)
    """
    if algorithm == OBSERVE and is_sharded(model):
        return observe_sharded(model, run_dir)
    _check_model(model)
    group, device = model.process_group, model.device
    if timeout_s is None:
        timeout_s = timeout_s_of(group, device)
    _check_timeout(timeout_s)
    ranks = dist.get_process_group_ranks(group)
    exchange = StoreExchange(group_store(group), ranks, group.rank(), _WHERE, timeout_s)
    if algorithm == OBSERVE and (compression != "none" or chunks is not None):
        raise UserError("'observe' leaves DDP's own sums; expected neither compression nor chunks")
    modes = {*exchange.gather(str(algorithm == OBSERVE))}  # tells who has not come
    if len(modes) > 1:
        raise UserError(f"some ranks attach with 'observe' and others without; {_REMEDY}")
    name = f"firetree {exchange.number} beside {group.group_name}"
    store = PrefixStore(name, group_store(group))
    measure = partial(measure_for_run, store, group.rank(), ranks, exchange.gather)
    if algorithm == OBSERVE:
        observed = ObservedSums(model)
        if run_dir is not None:
            observed.marks = watch_model(model, group, observed, Path(run_dir), exchange.gather)
            measure(Path(run_dir))
        return observed
    wired = connected(name, BACKEND, timeout_s, group, _WHERE)
    try:
        chosen, sent_as = together(lambda: _choose(model, algorithm, compression, chunks), wired)
        agree(_description(model, chosen, compression), _REMEDY, wired)
        on_gpu, beside = device.type == "cuda", wired
        summed_by = _auto(model, wired, store, sent_as) if isinstance(chosen, str) else chosen
        if on_gpu:
            beside = connected(f"{name} on nccl", "nccl", timeout_s, group, _WHERE)
        alone = group.size() == 1 or current() is not None
        roll = None if alone else join(partial(gather_json, group=wired))
    except BaseException:
        dist.destroy_process_group(wired)
        raise
    if on_gpu:
        dist.destroy_process_group(wired)
    synchroniser = Synchroniser(summed_by, beside, timeout_s, sent_as, device, roll)
    hook = Hook(model, synchroniser)
    if run_dir is not None:
        hook.marks = watch_model(model, group, synchroniser, Path(run_dir), exchange.gather)
        if synchroniser.chooser is None:
            measure(Path(run_dir))
        else:
            synchroniser.chooser.tell_run_in(Path(run_dir))
    hook.register()
    return synchroniser


def connected(
    name: str, backend: str, timeout_s: float, same_ranks: dist.ProcessGroup, where: str
) -> dist.ProcessGroup:
    """A group of another group's ranks (CollectiveError where they cannot connect; it names `where`)."""
    try:
        return named_group(name, backend, timeout_s, same_ranks)
    except CollectiveError:
        raise
    except RuntimeError as error:
        raise CollectiveError(f"{where}: the ranks cannot connect: {error}") from error


def timeout_s_of(group: dist.ProcessGroup, device: torch.device) -> float:
    """How long a group of ours or of torch's waits for another rank, in seconds."""
    return group.mesh.timeout_s if isinstance(group, WiredGroup) else group_timeout_s(group, device)


def _check_timeout(timeout_s: object) -> None:
    """Raise UserError where a backend cannot wait for that time."""
    number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not number or not 0.001 <= timeout_s <= _MOST_S:  # type: ignore[operator]
        raise UserError(
            f"timeout_s is {timeout_s!r}; expected seconds, from 0.001 to {_MOST_S:.0f}"
        )


def _check_model(model: object) -> None:
    """Raise UserError where the model is not DDP's, or cannot take a hook."""
    kind = type(model).__name__
    if isinstance(model, DistributedDataParallel):
        if hook := comm_hook_of(model):
            why = f"the model has the communication hook {hook} already"
            if hook.endswith(f".{Hook.firetree.__name__}"):
                raise UserError(
                    f"{why}, so it is attached; call firetree.attach once for each model, and not in a "
                    "script that firetree run starts"
                )
            raise UserError(f"{why}; expected one without")
        if steps_in_backward(model):
            raise UserError(
                "the model's optimizer steps in the backward pass, by a communication hook; "
                "expected one that steps after it"
            )
        if sums_without_hooks(model):
            raise UserError(
                "the model was wrapped with torch._dynamo.config.optimize_ddp = 'python_reducer', which "
                "calls no communication hook; expected another mode, as 'ddp_optimizer'"
            )
        return
    if is_sharded(model):
        raise UserError(
            f"the model is a {kind}, which shards its weights over the ranks; expected "
            "DistributedDataParallel, where each rank has all weights, or 'observe', which measures FSDP"
        )
    if isinstance(model, nn.Module) and any(
        isinstance(part, DistributedDataParallel) for part in model.modules()
    ):
        raise UserError(
            f"the model is a {kind}; expected the DistributedDataParallel that it holds"
        )
    start = "" if dist.is_initialized() else ", after torch.distributed.init_process_group"
    raise UserError(f"the model is a {kind}; expected DistributedDataParallel({kind}(…)){start}")


def _auto(
    model: DistributedDataParallel, wired: dist.ProcessGroup, store: Store, sent_as: Compression
) -> Chooser | FixedAlgorithm:
    """What sums the model's buckets where nobody says."""
    if model.device.type == "cuda":
        line = "%s: auto: on GPUs NCCL's own all-reduce sums; a name or a plan takes another way"
        logging.getLogger("firetree").info(line, _WHERE)
        return FixedAlgorithm("ring" if os.environ.get(VARIABLE) else GLOO, wired.size())
    gradient_bytes = sum(p.nbytes for p in _trained(model))
    return Chooser(wired, store, gradient_bytes, compressed=sent_as != UNCOMPRESSED)


def _choose(
    model: DistributedDataParallel, algorithm: str | Plan, compression: str, chunks: int | None
) -> tuple[FixedAlgorithm | Plan | Literal["auto"], Compression]:
    """What sums the model's buckets, and their compression (UserError where it cannot be)."""
    world_size = model.process_group.size()
    sent_as = parse_compression(compression)
    if sent_as.by_layer and any(p.is_complex() for p in _trained(model)):
        raise UserError(
            f"compression '{compression}' cannot send complex weights; choose another one"
        )
    if chunks is not None:
        check_chunks(chunks)
    if algorithm == AUTO:
        if chunks is not None:
            raise UserError(
                f"chunks is {chunks} and algorithm 'auto', which cuts buckets by their size; name an "
                "algorithm, or leave chunks out"
            )
        return AUTO, sent_as
    if isinstance(algorithm, Plan):
        algorithm.check(world_size, sum(p.nbytes for p in _trained(model)))
        chosen: FixedAlgorithm | Plan = algorithm
    else:
        check_algorithm(algorithm)
        chosen = FixedAlgorithm(algorithm, world_size, chunks)
    if os.environ.get(VARIABLE) and GLOO in chosen.algorithms:
        raise UserError(IN_CLEAR)
    return chosen, sent_as


def gradient_bytes(model: nn.Module) -> int:
    """|W|: bytes of gradients that are summed over the ranks in a step."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _trained(model: DistributedDataParallel) -> list[Tensor]:
    """The parameters whose gradients DDP sums; it may ignore others."""
    return [p for p in own_parameters(model) if p.requires_grad]


def _description(
    model: DistributedDataParallel,
    chosen: FixedAlgorithm | Plan | Literal["auto"],
    compression: str,
) -> dict[str, Json]:
    """What must be the same on all ranks, or their buckets would not match."""
    parameters = _trained(model)
    plan = chosen if isinstance(chosen, Plan) else None
    fixed = chosen if isinstance(chosen, FixedAlgorithm) else None
    return {
        "firetree": version("firetree"),
        "algorithm": fixed.algorithm if fixed else "a plan" if plan else AUTO,
        "plan": json.loads(plan.to_json()) if plan else None,
        "chunks": fixed.chunks if fixed else None,
        "compression": compression,
        "parameters": [f"{p.dtype} {tuple(p.shape)}" for p in parameters],
        "the weights' checksum": _checksum(parameters),
    }


def _checksum(tensors: Sequence[Tensor]) -> int:
    """CRC-32 over the bits of all tensors: ranks with other weights have other models, or diverge."""
    checksum = 0
    for tensor in tensors:
        bits = tensor.detach().flatten().contiguous().cpu().view(torch.uint8)
        checksum = zlib.crc32(bits.numpy().tobytes(), checksum)
    return checksum
