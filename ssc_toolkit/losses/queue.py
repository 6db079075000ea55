"""Rows of earlier batches as additional contrasts of a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ssc_toolkit.losses.batch import Rows, check_same_signals, with_mask
from ssc_toolkit.targets.base import LabelTensors


class ContrastQueue:
    """Queue of rows of earlier batches, which one call of a loss uses as additional contrasts.

    The call also records the contrasts of the current batch, which are later added to the queue.

    Args:
        rows: rows of earlier batches; None if there are none.
        alone: whether the contrasts of an anchor are only the queue and the other views of its own item.

    Attributes:
        fresh: contrasts of the current batch without a graph, one entry for each computation of the loss.
    """

    def __init__(self, rows: Rows | None, alone: bool = False) -> None:
        self.rows = rows
        self.alone = alone
        self.fresh: list[Rows] = []

    def joined(self, anchors: Rows, contrasts: Rows, ignored: Tensor | None) -> tuple[Rows, Tensor | None]:
        """Return the contrasts of the batch followed by those of the queue, and the mask of ignored pairs.

        Args:
            anchors: anchors of the batch.
            contrasts: contrasts of the batch.
            ignored: bool (items of the anchors, items of the contrasts), True where a pair is ignored, or None.
        """
        contrasts = with_mask(contrasts)
        self.fresh.append(contrasts._replace(embeddings=contrasts.embeddings.detach()))
        count = len(contrasts.items)
        if self.rows is not None:
            if ignored is not None:
                ignored = functional.pad(ignored.repeat_interleave(contrasts.views, dim=1), (0, len(self.rows.items)))
            count *= contrasts.views
            contrasts = _join(contrasts.flat(), _to(self.rows, contrasts.embeddings.device))
        if self.alone:  # expanded, so that memory does not grow with the anchors
            in_batch = torch.arange(len(contrasts.items), device=contrasts.items.device) < count
            left_out = in_batch.expand(len(anchors.items), -1)
            ignored = left_out if ignored is None else ignored | left_out
        return contrasts, ignored

    def last(self, size: int) -> Rows | None:
        """Return a copy of the last `size` rows of the queue followed by the current batch, or None without rows."""
        rows = self.rows
        for fresh in self.fresh:
            # A row that is not finite would make every loss NaN while it is in the queue.
            is_finite = fresh.embeddings.isfinite().all(dim=1, keepdim=True)
            kept = fresh._replace(embeddings=torch.where(is_finite, fresh.embeddings, 0)).flat()
            rows = kept if rows is None else _join(_to(rows, kept.embeddings.device), kept)
        if rows is None:
            return None
        count = len(rows.items)
        return _each(rows.part(max(0, count - size), count), torch.clone)


def _join(first: Rows, second: Rows) -> Rows:
    """Concatenate two batches with one view per item, whose labels must be of the same kinds."""
    dims = first.embeddings.shape[1], second.embeddings.shape[1]
    if dims[0] != dims[1]:
        raise ValueError(f"embeddings: expected the same dim in every batch, got {dims[0]} and {dims[1]}")
    check_same_signals(first, second, "labels")
    return first._replace(
        embeddings=torch.cat([first.embeddings, second.embeddings.to(first.embeddings.dtype)]),
        items=torch.cat([first.items, second.items]),
        labels=_cat(first.labels, second.labels),
        labeled=_cat(first.labeled, second.labeled),
        groups=_cat(first.groups, second.groups, "groups"),
    )


def _each(rows: Rows, function: Callable[[Tensor], Tensor]) -> Rows:
    """Return a copy of a batch in which `function` was applied to every tensor."""
    return rows._replace(embeddings=function(rows.embeddings)).map(function)


def _to(rows: Rows, device: torch.device) -> Rows:
    return _each(rows, lambda tensor: tensor.to(device))


def _cat(first: LabelTensors | None, second: LabelTensors | None, name: str = "labels") -> Any:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return {name: torch.cat([first[name], second[name]]) for name in first}
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    if first is None and second is None:
        return None
    if name == "groups":
        raise ValueError("groups: expected groups in every batch or in none, got groups in some")
    raise ValueError(
        "labels: expected the same label signals in every batch, got others; mark unknown labels with labeled=False"
    )
