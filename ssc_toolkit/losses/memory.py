"""Contrast with earlier batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.distributed import gather_rows, processes
from ssc_toolkit.losses.functional import check_same_signals, contrast
from ssc_toolkit.losses.modules import SemiSupConLoss
from ssc_toolkit.losses.rows import Rows, as_rows, map_signals, with_mask
from ssc_toolkit.targets.base import Labeled, Labels


class CrossBatchMemory(nn.Module):
    """A loss whose contrasts are the batch and a queue of earlier embeddings (Wang et al. 2020, arXiv 1912.06798).

    The queue holds the embeddings of the last rows with their item ids, labels and masks, whatever the
    target of the loss: the batch's anchors find positives and negatives there by the same rules as in the
    batch. No gradient flows into the queue, and a row that is not finite enters it as zeros. It is part of the
    state dict, grows in training mode only, and follows the batch from device to device. When the loss gathers,
    the queue takes the rows of all processes, and every process holds the same queue.

    The encoder changes while embeddings wait, so a long queue suits a small learning rate: start with a few
    batches' worth.

    Args:
        loss: whose settings are used.
        size: rows that the queue holds at most, at least 1.

    Raises:
        ValueError: if `size` is below 1, or a batch comes without item ids or with other label signals than
            the queue holds.

    Examples:
        >>> import torch
        >>> criterion = CrossBatchMemory(SemiSupConLoss(temperature=0.1), size=512)
        >>> for step in range(3):
        ...     embeddings = torch.randn(8, 2, 16, requires_grad=True)
        ...     tracks = torch.randint(0, 1000, (8,))                  # ids of the items in the data set
        ...     loss = criterion(embeddings, labels=tracks % 5, items=tracks)
        ...     loss.backward()
        >>> len(criterion)
        48
    """

    def __init__(self, loss: SemiSupConLoss, size: int) -> None:
        super().__init__()
        if not isinstance(loss, SemiSupConLoss):
            raise TypeError(f"loss: expected SemiSupConLoss, SupConLoss or NTXentLoss, got {loss!r}")
        if size < 1 or size != int(size):
            raise ValueError(f"size: expected a whole number of rows, at least 1, got {size}")
        self.loss = loss
        self.size = size
        self.queue: Rows | None = None

    def forward(
        self, embeddings: Tensor, labels: Labels | None = None, labeled: Labeled | None = None, *, items: Tensor
    ) -> Tensor:
        """Loss of a batch against itself and the queue, which then takes the batch in.

        Args:
            embeddings: (items, views, dim) or (N, dim).
            labels: as of `semi_supcon_loss`; the same signals in every batch.
            labeled: as of `semi_supcon_loss`.
            items: ids of the items, (items,) or (N,), that mean the same in every batch, such as the
                track's row in the data set.
        """
        if items is None:
            raise ValueError("items: a memory needs the ids of the items, the same in every batch")
        settings = self.loss.settings()
        anchors = with_mask(as_rows(embeddings, labels, labeled, items, settings["target"]))
        batch, start = anchors, 0
        group = settings["process_group"]
        if settings["gather"] and processes(group) > 1:
            batch, start = gather_rows(anchors, True, group)
        queue = None if self.queue is None else _to(self.queue, embeddings.device)
        contrasts = batch if queue is None else _join(batch.flat(), queue)
        losses = contrast(anchors, contrasts, start * batch.views, **settings)
        if self.training:
            fresh = batch.embeddings.detach()
            # One row that is not finite would make every loss NaN for as long as it waits; zeros are near to nobody.
            finite = torch.where(fresh.isfinite().all(dim=1, keepdim=True), fresh, 0)
            kept = batch._replace(embeddings=finite).flat()
            joined = kept if queue is None else _join(queue, kept)
            count = len(joined.items)
            self.queue = _copy(joined.part(max(0, count - self.size), count))
        return losses.view(embeddings.shape[:-1]) if settings["reduction"] == "none" else losses

    def clear(self) -> None:
        """Empty the queue."""
        self.queue = None

    def __len__(self) -> int:
        return 0 if self.queue is None else len(self.queue.items)

    def get_extra_state(self) -> dict[str, Any]:
        """The queue, for the state dict."""
        return {} if self.queue is None else self.queue._asdict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the queue of a state dict."""
        if not state:
            self.queue = None
            return
        queue = Rows(**state)
        count = len(queue.items)
        self.queue = queue.part(max(0, count - self.size), count)

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _join(first: Rows, second: Rows) -> Rows:
    """The rows of both."""
    dims = first.embeddings.shape[1], second.embeddings.shape[1]
    if dims[0] != dims[1]:
        raise ValueError(f"embeddings: a memory needs the same dim in every batch, got {dims[0]} and {dims[1]}")
    check_same_signals(first, second, "labels")
    return Rows(
        torch.cat([first.embeddings, second.embeddings.to(first.embeddings.dtype)]),
        torch.cat([first.items, second.items]),
        _cat(first.labels, second.labels),
        _cat(first.labeled, second.labeled),
        views=1,
    )


def _cat(first: Labels | None, second: Labels | None) -> Any:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return {name: torch.cat([first[name], second[name]]) for name in first}
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    if first is None and second is None:
        return None
    raise ValueError("labels: a memory needs the same label signals in every batch; mark unknown ones by labeled=False")


def _to(queue: Rows, device: torch.device) -> Rows:
    return _each(queue, lambda tensor: tensor.to(device))


def _copy(rows: Rows) -> Rows:
    """Rows with storage of their own, so that a state dict holds no more than the queue."""
    return _each(rows, torch.clone)


def _each(rows: Rows, function: Callable[[Tensor], Tensor]) -> Rows:
    return Rows(
        function(rows.embeddings),
        function(rows.items),
        map_signals(rows.labels, function),
        map_signals(rows.labeled, function),
        rows.views,
    )
