"""Gathering of the batches of all processes, which can have different sizes, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssc_toolkit.hashing import integer_hash
from ssc_toolkit.losses.batch import Rows, split_by_signal, with_mask


class Gathered(NamedTuple):
    """Result of `gather_rows`.

    Attributes:
        rows: batches of all processes, concatenated in the order of the ranks.
        start: index of the first item of this process in `rows`.
    """

    rows: Rows
    start: int


def gather_rows(
    rows: Rows,
    items_are_given: bool,
    group: dist.ProcessGroup | None = None,
    options: Mapping[str, Any] | None = None,
) -> Gathered:
    """Concatenate the batches of all processes. The gradient of an embedding flows back to its own process.

    The call waits for the device once, to read the sizes of the other batches.

    Args:
        rows: batch of this process.
        items_are_given: whether the caller passed item ids. If True, an id stands for the same item on all processes.
            If False, the ids are changed such that items of different processes have different ids.
        group: processes that gather; all processes by default.
        options: settings that must be equal on all processes, by name.

    Raises:
        ValueError: on every process, if label names, the last dimensions of embeddings or labels, dtypes or `options`
            differ between processes.
    """
    rows = with_mask(rows)
    shared = {"items": items_are_given, "labels": _kind(rows), "embeddings": _has_gradient(rows), **(options or {})}
    own = torch.tensor(
        [len(rows.items), *(integer_hash(repr(value)) for value in shared.values())], device=rows.embeddings.device
    )
    found = [torch.empty_like(own) for _ in range(count_processes(group))]
    dist.all_gather(found, own, group=group)
    sizes, *columns = torch.stack(found).T.tolist()
    differing = [name for name, column in zip(shared, columns, strict=True) if len(set(column)) > 1]
    if "labels" in differing:
        raise ValueError(
            "labels: with gather=True, expected the same label signals, masks, groups, number of views, dim and dtypes "
            "on all processes, got differences"
        )
    if differing:
        reason = "; they must require a gradient on all processes or on none" if differing[0] == "embeddings" else ""
        raise ValueError(
            f"{', '.join(differing)}: with gather=True, expected the same on all processes, passed on all or on none, "
            f"got differences{reason}"
        )
    start = sum(sizes[: dist.get_rank(group)])
    items = rows.items if items_are_given else rows.items + start

    def gathered(value: Tensor) -> Tensor:
        return _all_gather(value, sizes, group)

    embeddings = _GatherWithGradient.apply(rows.embeddings, [size * rows.views for size in sizes], group)
    return Gathered(rows._replace(embeddings=embeddings, items=items).map(gathered), start)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        return _all_gather(embeddings, sizes, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient.split(ctx.sizes)[dist.get_rank(ctx.group)], None, None


def _all_gather(value: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> Tensor:
    """Concatenate `value` of all processes, where the tensors have `sizes` rows.

    They are padded for the transfer, because `all_gather` requires equal shapes.
    """
    is_bool = value.dtype == torch.bool
    sent = value.new_zeros((max(sizes), *value.shape[1:]), dtype=torch.uint8 if is_bool else value.dtype)
    sent[: len(value)] = value
    received = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(received, sent, group=group)
    whole = torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])
    return whole.bool() if is_bool else whole


def structure(target: nn.Module) -> list[Any]:
    """Return the classes of a target and its parts, and names, shapes and dtypes of its buffers.

    They must be equal on all processes that gather.
    """
    buffers = [(name, tuple(buffer.shape), str(buffer.dtype)) for name, buffer in target.named_buffers()]
    return [[type(module).__qualname__ for module in target.modules()], buffers]


def _has_gradient(rows: Rows) -> bool:
    return torch.is_grad_enabled() and rows.embeddings.requires_grad


def _kind(rows: Rows) -> list[Any]:
    """Return the number of views, and names, shapes without the first dimension and dtypes of all tensors of a batch.

    They must be equal on all processes that gather.
    """
    described: list[Any] = [rows.views]
    for value in (rows.embeddings, rows.items, rows.labels, rows.labeled, rows.groups):
        named = split_by_signal(value)
        described.append([(name, tuple(named[name].shape[1:]), str(named[name].dtype)) for name in sorted(named)])
    return described


def count_processes(group: dist.ProcessGroup | None = None) -> int:
    """Return the number of processes in a group, by default of all processes; 1 if none are initialized.

    Raises:
        ValueError: if this process is not a member of the group.
    """
    if not dist.is_available() or not dist.is_initialized():
        return 1
    size = dist.get_world_size(group)
    if size < 1:
        raise ValueError(
            f"process_group: expected a group that contains this process, got one without rank {dist.get_rank()}"
        )
    return size


def sum_over_processes(value: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Compute the sum of a tensor over the processes of a group, by default all processes, without a gradient."""
    return _reduced(value, "SUM", group)


def max_over_processes(value: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Compute the maximum of a tensor over the processes of a group, by default all processes, without a gradient."""
    return _reduced(value, "MAX", group)


def _reduced(value: Tensor, operation: str, group: dist.ProcessGroup | None) -> Tensor:
    value = value.detach().clone()
    if count_processes(group) > 1:
        dist.all_reduce(value, getattr(dist.ReduceOp, operation), group=group)
    return value
