"""Contrast with earlier batches."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ssc_toolkit.losses.arguments import LossArguments
from ssc_toolkit.losses.batch import Rows
from ssc_toolkit.losses.modules import SemiSupConLoss
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.seeds import whole_number
from ssc_toolkit.targets.base import Labeled, LabelTensors, in_fake_mode, in_function_transform


class CrossBatchMemory(nn.Module):
    """Loss whose contrasts are the batch and a queue of earlier embeddings (Wang et al. 2020, arXiv 1912.06798).

    The memory calls the loss with those of its own arguments that the loss accepts: `NTXentLoss` gets no labels. It
    calls the `forward` method of your own subclass too. The queue holds the last
    rows that were contrasts, with their item ids, labels and masks, whatever the target of the loss: the batch's
    anchors find positives and negatives there by the same rules as in the batch. No gradient flows into the queue, and
    a row that is not finite enters it as zeros. It is part of the state dict, grows in training mode only, and follows
    the batch from device to device. When the loss gathers, the queue takes the rows of all processes, and every
    process holds the same queue.

    The encoder changes while embeddings wait, so a long queue suits a small learning rate, or the rows of a momentum
    encoder: pass them as `keys`, and they enter the queue (MoCo; He et al. 2020, arXiv 1911.05722). Start with a few
    batches' worth.

    Args:
        loss: `SemiSupConLoss`, `SupConLoss`, `NTXentLoss` or a subclass, whose `forward` takes `items`.
        size: rows that the queue holds at most, at least 1.
        contrasts: "all": the batch, or its keys, and the queue. "queue": of the batch, an anchor meets the rows of its
            own item alone, as in MoCo and in lightly's losses with a memory bank.

    Raises:
        TypeError: for another loss, or a `size` that is no whole number.
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

    def __init__(self, loss: SemiSupConLoss, size: int, contrasts: Literal["all", "queue"] = "all") -> None:
        super().__init__()
        if not isinstance(loss, SemiSupConLoss):
            raise TypeError(f"loss: expected SemiSupConLoss, SupConLoss, NTXentLoss or a subclass, got {loss!r}")
        arguments = LossArguments.of(loss)
        if "items" not in arguments.taken:
            raise TypeError(f"loss: a memory needs a loss whose forward takes items, got {type(loss).__name__}")
        size = whole_number("size", size, 1)
        if contrasts not in ("all", "queue"):
            raise ValueError(f"contrasts: expected 'all' or 'queue', got {contrasts!r}")
        self.loss = loss
        self.contrasts = contrasts
        self.size = size
        self.queue: Rows | None = None
        self._arguments = arguments

    def forward(
        self,
        embeddings: Tensor,
        labels: LabelTensors | None = None,
        *,
        labeled: Labeled | None = None,
        items: Tensor,
        keys: Tensor | None = None,
        key_labels: LabelTensors | None = None,
        key_labeled: Labeled | None = None,
        key_items: Tensor | None = None,
        groups: Tensor | None = None,
        key_groups: Tensor | None = None,
        anchor_weights: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch against itself, or its keys, and the queue, which then takes the batch or its keys in.

        Args:
            embeddings: as of `semi_supcon_loss`.
            labels: as of `semi_supcon_loss`; the same signals in every batch.
            labeled: as of `semi_supcon_loss`.
            items: ids of the items, (items,) or (N,), that mean the same in every batch, such as the
                track's row in the data set.
            keys: embeddings of a second encoder, which are contrasts instead of the batch, and enter the queue.
            key_labels: as of `semi_supcon_loss`.
            key_labeled: as of `semi_supcon_loss`.
            key_items: as of `semi_supcon_loss`; the ids mean the same in every batch.
            groups: as of `semi_supcon_loss`, in every batch or in none; the ids mean the same in every batch.
            key_groups: as of `semi_supcon_loss`.
            anchor_weights: as of `semi_supcon_loss`.
        """
        if items is None:
            raise ValueError("items: a memory needs the ids of the items, the same in every batch")
        needed = {"keys": keys, "key_items": key_items, "groups": groups, "key_groups": key_groups}
        needed |= {"anchor_weights": anchor_weights}
        for name, value in needed.items():
            if value is not None and name not in self._arguments.taken:
                raise ValueError(f"{name}: {type(self.loss).__name__} takes none")
        given = {"labels": labels, "labeled": labeled, "items": items, **needed}
        given |= {"key_labels": key_labels, "key_labeled": key_labeled}
        queue = ContrastQueue(self.queue, alone=self.contrasts == "queue")
        self.loss.queue = queue
        try:
            losses: Tensor = self._arguments.call(self.loss, embeddings, given)
        finally:
            self.loss.queue = None
        # Tensors of a transform or a fake mode mean nothing outside of it.
        if self.training and not (in_function_transform() or in_fake_mode()):
            self.queue = queue.last(self.size)
        return losses

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
        if state.keys() != set(Rows._fields):
            raise ValueError(f"state: expected the keys {', '.join(Rows._fields)}, got {', '.join(map(str, state))}")
        queue = Rows(**state)
        count = len(queue.items)
        self.queue = queue.part(max(0, count - self.size), count)

    def extra_repr(self) -> str:
        return f"size={self.size}, contrasts={self.contrasts!r}"
