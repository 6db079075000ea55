"""Loss of two projections of a batch, one for views and one for labels."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_number
from ssc_toolkit.losses.batch import map_signals
from ssc_toolkit.losses.cross_batch_memory import CrossBatchMemory
from ssc_toolkit.losses.modules import SemiSupConLoss
from ssc_toolkit.targets import Target
from ssc_toolkit.targets.base import Labeled, LabelTensors


class SeparateHeadsLoss(nn.Module):
    r"""Weighted sum of a self-supervised and a supervised contrastive loss of separate projections.

    Two projectors on the same encoder map an embedding to the projections z and z', as `ProjectorHeads` does. Views of
    one item are compared by z, and labels by z', so that labels change the encoder, but not the space in which each
    item is distinguished from all others. The loss of a batch is

    $$L = L_\text{views}(z) + \lambda \, L_\text{labels}(z')$$

    The first term is NT-Xent over all items. The positives of an anchor are the other views of its item. The second
    term is `SemiSupConLoss` over the labeled items only, which is SupCon if the labels are classes. Its anchors and
    contrasts are views of labeled items, because the labels do not state which unlabeled items are negatives. The first
    term has no gradient in the projector of z', and the second term none in the projector of z. With \(\lambda = 0\),
    the loss is NT-Xent.

    Islam et al. 2021 (arXiv 2103.13517) use the sum of a self-supervised and a supervised contrastive loss. Xiao et al.
    2021 (arXiv 2008.05659) compute contrastive losses of different invariances from separate heads of one encoder.

    Args:
        views: loss of the projections z. It gets no labels. If it is in a `CrossBatchMemory`, the queue contains
            projections z of all items.
        labels: loss of the projections z' of the labeled items, with the target of the labels. If it is in a
            `CrossBatchMemory`, the queue contains projections z' of labeled items.
        label_weight: weight \(\lambda\) of the second term, at least 0.

    Shape:
        - embeddings: (items, views, 2 dim) or (N, 2 dim), with z in the first half of the last dimension and z' in
          the second
        - labels, labeled, items: as for `SemiSupConLoss`
        - output: scalar

    Raises:
        ValueError: if the last dimension is odd, `label_weight` is negative, or as for `SemiSupConLoss`.
        TypeError: as for `SemiSupConLoss`.

    Examples:
        >>> import torch
        >>> criterion = SeparateHeadsLoss(SemiSupConLoss(0.1), SemiSupConLoss(0.1), label_weight=0.5)
        >>> known = torch.arange(8) < 4
        >>> criterion(torch.randn(8, 2, 32), torch.arange(8) % 2, labeled=known).shape
        torch.Size([])
    """

    def __init__(
        self,
        views: SemiSupConLoss | CrossBatchMemory,
        labels: SemiSupConLoss | CrossBatchMemory,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, loss in (("views", views), ("labels", labels)):
            if not isinstance(loss, SemiSupConLoss | CrossBatchMemory):
                raise TypeError(f"{name}: expected SemiSupConLoss or CrossBatchMemory, got {loss!r:.100}")
        self.views = views
        self.labels = labels
        self.label_weight = check_number("label_weight", label_weight, 0)

    @property
    def target(self) -> Target:
        """Target of the labels."""
        loss = self.labels.loss if isinstance(self.labels, CrossBatchMemory) else self.labels
        found: Target = loss.target  # type: ignore[assignment]
        return found

    def forward(
        self,
        embeddings: Tensor,
        labels: LabelTensors | None = None,
        *,
        labeled: Labeled | None = None,
        items: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a batch, a scalar. On a GPU, this waits for the mask of the labeled items.

        Args:
            embeddings: (items, views, 2 dim) or (N, 2 dim), the concatenated projections.
            labels: as for `SemiSupConLoss`. None: no item is labeled.
            labeled: as for `SemiSupConLoss`.
            items: as for `SemiSupConLoss`. A `CrossBatchMemory` requires them.
        """
        if embeddings.shape[-1] % 2:
            raise ValueError(f"embeddings: expected two projections of equal width, got {tuple(embeddings.shape)}")
        of_views, of_labels = embeddings.chunk(2, dim=-1)
        loss: Tensor = self.views(of_views, items=items)
        if labels is None:
            return loss
        labeled = self.target.known(labels, labeled)
        known = torch.arange(len(embeddings), device=embeddings.device)
        if labeled is not None:
            masks = list(labeled.values()) if isinstance(labeled, dict) else [labeled]
            known = functools.reduce(torch.logical_or, masks).nonzero()[:, 0]

        def chosen(value: Tensor) -> Tensor:
            return value[known]

        supervised: Tensor = self.labels(
            of_labels[known],
            map_signals(labels, chosen),
            labeled=map_signals(labeled, chosen),
            items=None if items is None else items[known],
        )
        return loss + self.label_weight * supervised

    def extra_repr(self) -> str:
        return f"label_weight={self.label_weight}"
