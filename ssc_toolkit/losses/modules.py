"""The losses as modules that hold their settings."""

from __future__ import annotations

from torch import Tensor, nn

from ssc_toolkit.losses.functional import Reduction, TargetFunction, check_settings, semi_supcon_loss
from ssc_toolkit.targets import SameClass, Target


class SemiSupConLoss(nn.Module):
    """Semi-supervised contrastive loss; see `ssc_toolkit.losses.functional.semi_supcon_loss`.

    Args:
        temperature: positive number that divides the cosine similarities.
        target: which labelled items are positives of each other, and how strongly.
            `SameClass()` by default.
        reduction: "mean" over the anchors that have positives, "sum" or "none".

    Examples:
        >>> import torch
        >>> from ssc_toolkit.targets import SharedLabels
        >>> criterion = SemiSupConLoss(temperature=0.1, target=SharedLabels(minimum=1))
        >>> embeddings = torch.randn(8, 2, 16, requires_grad=True)     # (items, views, dim)
        >>> tags = torch.randint(0, 2, (8, 5))                         # (items, classes)
        >>> known = torch.arange(8) < 4                                # the rest is unlabelled
        >>> criterion(embeddings, labels=tags, labeled=known).backward()
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target: Target | TargetFunction | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_settings(temperature, reduction)
        self.temperature = temperature
        self.target = SameClass() if target is None else target
        self.reduction: Reduction = reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        labeled: Tensor | None = None,
        items: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch; shapes, dtypes and errors as in `semi_supcon_loss`."""
        return semi_supcon_loss(
            embeddings,
            labels,
            labeled,
            items=items,
            target=self.target,
            temperature=self.temperature,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, reduction={self.reduction!r}"


class SupConLoss(SemiSupConLoss):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, eq. 2): every item is labelled.

    Examples:
        >>> import torch
        >>> loss = SupConLoss(temperature=0.1)(torch.randn(8, 2, 16), labels=torch.arange(8) % 3)
    """

    def forward(  # type: ignore[override]  # labels are no option here
        self, embeddings: Tensor, labels: Tensor, items: Tensor | None = None
    ) -> Tensor:
        """Loss of a fully labelled batch; shapes and errors as in `semi_supcon_loss`."""
        return super().forward(embeddings, labels, items=items)


class NTXentLoss(SemiSupConLoss):
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al. 2020, arXiv 2002.05709).

    Two views of an item are positives, all else is contrast; no labels.

    Examples:
        >>> import torch
        >>> loss = NTXentLoss(temperature=0.1)(torch.randn(8, 2, 16))
    """

    def __init__(self, temperature: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__(temperature=temperature, reduction=reduction)

    def forward(self, embeddings: Tensor, items: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Loss of an unlabelled batch; shapes and errors as in `semi_supcon_loss`."""
        return super().forward(embeddings, items=items)
