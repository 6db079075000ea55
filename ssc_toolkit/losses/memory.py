"""Contrast with earlier batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.distributed import gather_rows, processes
from ssc_toolkit.losses.functional import contrast
from ssc_toolkit.losses.modules import SemiSupConLoss
from ssc_toolkit.losses.rows import Rows, as_rows
from ssc_toolkit.targets.base import Labeled, Labels


class CrossBatchMemory(nn.Module):
    """A loss whose contrasts are the batch and a queue of earlier embeddings (Wang et al. 2020, arXiv 1912.06798).

    The queue holds the embeddings of the last rows with their item ids, labels and masks, whatever the
    target of the loss: the batch's anchors find positives and negatives there by the same rules as in the
    batch. No gradient flows into the queue. It is part of the state dict, grows in training mode only, and
    follows the batch from device to device. When the loss gathers, the queue takes the rows of all
    processes, and every process holds the same queue.

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
        if size < 1:
            raise ValueError(f"size: expected at least 1 row, got {size}")
        self.loss = loss
        self.size = size
        self.queue: Rows | None = None

    def forward(
        self, embeddings: Tensor, labels: Labels | None = None, labeled: Labeled | None = None, *, items: Tensor
    ) -> Tensor:
        """Loss of a batch against itself and the queue, which then takes the batch in.

        Args:
            embeddings: (items, views, dim) or (N, dim).
            labels, labeled: as of `semi_supcon_loss`; the same signals in every batch.
            items: ids of the items, (items,) or (N,), that mean the same in every batch, such as the
                track's row in the data set.
        """
        if items is None:
            raise ValueError("items: a memory needs the ids of the items, the same in every batch")
        settings = self.loss.settings()
        anchors = as_rows(embeddings, labels, labeled, items, settings["target"])
        batch, start = anchors, 0
        if settings["gather"] and processes() > 1:
            batch, start = gather_rows(anchors, items_are_given=True)
        queue = None if self.queue is None else _to(self.queue, embeddings.device)
        contrasts = batch if queue is None else _join(batch, queue)
        losses = contrast(anchors, contrasts, start, **settings)
        if self.training:
            kept = batch._replace(embeddings=batch.embeddings.detach())
            joined = kept if queue is None else _join(kept, queue)
            self.queue = _copy(joined.part(0, self.size))
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
        self.queue = Rows(**state).part(0, self.size) if state else None

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _join(batch: Rows, queue: Rows) -> Rows:
    """The rows of both, the batch first."""
    return Rows(
        torch.cat([batch.embeddings, queue.embeddings.to(batch.embeddings.dtype)]),
        torch.cat([batch.items, queue.items]),
        _cat(batch.labels, queue.labels),
        _cat(batch.labeled, queue.labeled),
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
    return _map(queue, lambda tensor: tensor.to(device))


def _copy(rows: Rows) -> Rows:
    """Rows with storage of their own, so that a state dict holds no more than the queue."""
    return _map(rows, torch.clone)


def _map(rows: Rows, function: Any) -> Rows:
    def each(value: Labels | None) -> Any:
        if isinstance(value, dict):
            return {name: function(tensor) for name, tensor in value.items()}
        return None if value is None else function(value)

    return Rows(*(each(value) for value in rows))
