"""Loss with a queue of embeddings of earlier batches."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ssc_toolkit.checks import as_integer, check_choice
from ssc_toolkit.losses.arguments import LossArguments
from ssc_toolkit.losses.batch import Rows
from ssc_toolkit.losses.modules import SemiSupConLoss
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.targets.base import Labeled, LabelTensors
from ssc_toolkit.tracing import in_fake_mode, in_function_transform


class CrossBatchMemory(nn.Module):
    """Loss that compares each anchor also with embeddings of earlier batches (Wang et al. 2020, arXiv 1912.06798).

    The contrasts of an anchor are the rows of the batch and the rows of a queue. The queue stores the last `size` rows
    of earlier batches with their item ids, labels and masks, so the target weights of pairs with the queue are computed
    as for pairs in the batch. No gradient flows into the queue. A row with NaN or infinity is stored as zeros. The
    queue changes in training mode only. It is part of the state dict, and it is moved to the device of the batch. If
    the loss has `gather=True`, the queue stores the rows of all processes and is the same on every process.

    Only the arguments that the `forward` method of the loss accepts are passed to the loss. `NTXentLoss`, for example,
    gets no labels.

    The rows in the queue are older than the current weights of the encoder. Use a long queue only with a small learning
    rate, or with a momentum encoder (MoCo; He et al. 2020, arXiv 1911.05722). Pass the embeddings of the momentum
    encoder as `keys`; the queue then stores the keys. Start with a queue of a few batches.

    Args:
        loss: `SemiSupConLoss`, `SupConLoss`, `NTXentLoss` or a subclass whose `forward` accepts `items`.
        size: maximum number of rows in the queue, at least 1.
        contrasts: "all": the contrasts are the rows of the batch (or its keys) and of the queue. "queue": the
            contrasts are the other views of the item of the anchor and the rows of the queue, as in MoCo.

    Raises:
        TypeError: if `loss` has another type, or `size` is not an integer.
        ValueError: if `size` is below 1, if a batch has no item ids, or if a batch has other kinds of labels than the
            queue.

    Examples:
        >>> import torch
        >>> criterion = CrossBatchMemory(SemiSupConLoss(temperature=0.1), size=512)
        >>> for step in range(3):
        ...     embeddings = torch.randn(8, 2, 16, requires_grad=True)
        ...     tracks = torch.randint(0, 1000, (8,))                  # ids of the items in the dataset
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
            raise TypeError(f"loss: expected a loss whose forward accepts items, got {type(loss).__name__}")
        size = as_integer("size", size, 1)
        check_choice("contrasts", contrasts, ("all", "queue"))
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
        """Compute the loss of a batch with the queue, then add the embeddings of the batch, or its keys, to the queue.

        Args:
            embeddings: as for `semi_supcon_loss`.
            labels: as for `semi_supcon_loss`. All batches must have the same kinds of labels.
            labeled: as for `semi_supcon_loss`.
            items: integer ids of the items, (items,) or (N,). An id must stand for the same item in every batch, such
                as the index of the track in the dataset.
            keys: as for `semi_supcon_loss`. The queue then stores the keys instead of the embeddings.
            key_labels: as for `semi_supcon_loss`.
            key_labeled: as for `semi_supcon_loss`.
            key_items: as for `semi_supcon_loss`. An id must stand for the same item in every batch.
            groups: as for `semi_supcon_loss`. Pass groups for every batch or for none. An id must stand for the same
                group in every batch.
            key_groups: as for `semi_supcon_loss`.
            anchor_weights: as for `semi_supcon_loss`.

        Returns:
            The loss, as from `loss`: a scalar, or one loss per anchor for reduction="none".
        """
        if items is None:
            raise ValueError("items: expected an id for each item, got None")
        needed = {"keys": keys, "key_items": key_items, "groups": groups, "key_groups": key_groups}
        needed |= {"anchor_weights": anchor_weights}
        for name, value in needed.items():
            if value is not None and name not in self._arguments.taken:
                raise ValueError(f"{name}: {type(self.loss).__name__} does not accept this argument")
        given = {"labels": labels, "labeled": labeled, "items": items, **needed}
        given |= {"key_labels": key_labels, "key_labeled": key_labeled}
        queue = ContrastQueue(self.queue, alone=self.contrasts == "queue")
        self.loss.queue = queue
        try:
            losses: Tensor = self._arguments.call(self.loss, embeddings, given)
        finally:
            self.loss.queue = None
        # Tensors of a torch.func transform or a fake mode are invalid outside of it.
        if self.training and not (in_function_transform() or in_fake_mode()):
            self.queue = queue.last(self.size)
        return losses

    def clear(self) -> None:
        """Empty the queue."""
        self.queue = None

    def __len__(self) -> int:
        return 0 if self.queue is None else len(self.queue.items)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the stored rows of the queue for the state dict."""
        return {} if self.queue is None else self.queue._asdict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Replace the queue by one from a state dict, as `get_extra_state` returned it."""
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
