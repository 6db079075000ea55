"""The loss as the equation has it, with the whole matrix of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.losses.rows import Rows, pair_weights
from ssc_toolkit.targets import Target


def dense_losses(
    queries: Tensor, keys: Tensor, anchors: Rows, contrasts: Rows, itself: int | None, target: Target, decoupled: bool
) -> tuple[Tensor, Tensor]:
    """Loss of every anchor, 0 where it is not valid, and whether it is.

    Args:
        queries: (N, D) normalised anchors, divided by the temperature.
        keys: (M, D) normalised contrasts.
        anchors: what is known about the items of the queries.
        contrasts: what is known about the items of the keys.
        itself: the key that is the first query; query i is key i + itself. None: queries are not among the keys.
        target: weight of a pair of labelled rows.
        decoupled: whether the denominator leaves the positives out.
    """
    similarities = queries @ keys.T
    weights = pair_weights(anchors, contrasts, target).to(similarities.dtype)
    is_contrast = torch.ones_like(weights, dtype=torch.bool)
    if itself is not None:
        rows = torch.arange(len(queries), device=queries.device)
        is_self = rows[:, None] + itself == torch.arange(len(keys), device=queries.device)
        weights, is_contrast = weights.masked_fill(is_self, 0), ~is_self
    if decoupled:
        is_contrast = is_contrast & (weights == 0)
    total = weights.sum(dim=1)
    valid = (total > 0) & is_contrast.any(dim=1)
    contrast = torch.logsumexp(similarities.masked_fill(~is_contrast, -torch.inf), dim=1)
    attraction = (weights * similarities).sum(dim=1) / torch.where(valid, total, 1)
    return torch.where(valid, contrast - attraction, 0), valid
