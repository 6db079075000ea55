"""Rows of all processes, with gradients, also where their batches differ in size."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ssc_toolkit.losses.rows import Rows, map_signals, signals_of, with_mask


class Gathered(NamedTuple):
    """Rows of all processes in the order of their ranks, and the item with which this process's begin."""

    rows: Rows
    start: int


def gather_rows(rows: Rows, items_are_given: bool) -> Gathered:
    """Rows of all processes; gradients of the embeddings flow back to the process they came from.

    Reads one small tensor on the host to learn the sizes of the other batches.

    Args:
        rows: of this process.
        items_are_given: whether item ids are the caller's, the same everywhere; otherwise they are
            moved apart, so that items of two processes are never taken for one.

    Raises:
        ValueError: on every process, if they do not all have the same signals, widths and dtypes.
    """
    rows = with_mask(rows)
    own = torch.tensor([len(rows.items), _kind(rows)], device=rows.embeddings.device)
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    table = torch.stack(found).tolist()
    sizes = [size for size, _ in table]
    if len({kind for _, kind in table}) > 1:
        raise ValueError(
            "labels: with gather=True, all processes must pass the same label signals and masks, or none, and "
            "embeddings of the same views, dim and dtype"
        )
    start = sum(sizes[: dist.get_rank()])
    items = rows.items if items_are_given else rows.items + start

    def gathered(value: Tensor) -> Tensor:
        return _all_gather(value, sizes)

    whole = Rows(
        _GatherWithGradient.apply(rows.embeddings, [size * rows.views for size in sizes]),
        gathered(items),
        map_signals(rows.labels, gathered),
        map_signals(rows.labeled, gathered),
        rows.views,
    )
    return Gathered(whole, start)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _all_gather(embeddings, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.split(ctx.sizes)[dist.get_rank()], None


def _all_gather(value: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all processes; padded on the way, because collectives want equal shapes."""
    is_bool = value.dtype == torch.bool
    sent = value.new_zeros((max(sizes), *value.shape[1:]), dtype=torch.uint8 if is_bool else value.dtype)
    sent[: len(value)] = value
    received = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(received, sent)
    whole = torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])
    return whole.bool() if is_bool else whole


def _kind(rows: Rows) -> int:
    """A number that two processes share if their rows can be gathered: names, widths and dtypes of everything."""
    said: list[Any] = [rows.views]
    for value in (rows.embeddings, rows.items, rows.labels, rows.labeled):
        named = signals_of(value)
        said.append([(name, tuple(named[name].shape[1:]), str(named[name].dtype)) for name in sorted(named)])
    return int.from_bytes(hashlib.blake2b(repr(said).encode(), digest_size=7).digest(), "little")


def processes() -> int:
    """How many processes work together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes, without a gradient."""
    value = value.detach().clone()
    if processes() > 1:
        dist.all_reduce(value)
    return value
