"""Which items have which labels."""

from __future__ import annotations

import torch
from torch import Tensor


def labelled_pairs(labels: Tensor, labeled: Tensor | None, what: str) -> tuple[Tensor, Tensor]:
    """Every item with every label that it has, in the order of the items.

    Args:
        labels: classes (N,) or multi-hot (N, classes).
        labeled: (N,) bool, where the labels are known; everywhere if None.
        what: name of the N things, for messages.

    Returns:
        Items and labels, (pairs,) each.

    Raises:
        ValueError: for labels or a mask of another shape.
    """
    labels = torch.as_tensor(labels)
    if labels.dim() not in (1, 2):
        raise ValueError(f"labels: expected ({what},) or ({what}, classes), got {tuple(labels.shape)}")
    if labeled is None:
        labeled = torch.ones(len(labels), dtype=torch.bool)
    elif labeled.shape != labels.shape[:1]:
        raise ValueError(f"labeled: expected {tuple(labels.shape[:1])}, got {tuple(labeled.shape)}")
    if labels.dim() == 2:
        item, label = ((labels > 0) & labeled[:, None]).nonzero().unbind(1)
        return item, label
    item = labeled.nonzero()[:, 0]
    return item, labels[item]
