"""Dense form of the loss: the equation computed on the whole matrix of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.losses.pairs import PairSettings
from ssc_toolkit.losses.weighting import hard_denominators, positive_weights


def dense_losses(
    queries: Tensor, keys: Tensor, pairs: PairSettings, lowest: Tensor | None = None, log_mean: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the loss of every anchor, and a mask of the valid anchors.

    An anchor is valid if it has positives and its denominator is not empty. An invalid anchor has loss 0.

    Args:
        queries: (N, D) embeddings of the anchors, scaled to length 1 and divided by the temperature.
        keys: (M, D) embeddings of the contrasts, scaled to length 1.
        pairs: labels of the queries and keys, and settings of the loss.
        lowest: scalar -1 / temperature. Required if negatives or positives are weighted.
        log_mean: scalar, required if positives are weighted; see `Weighting`.

    Returns:
        Losses (N,) and bool (N,).
    """
    return compute_losses(queries @ keys.T, pairs, 0, len(pairs.anchors.items), lowest, log_mean)


def compute_losses(
    similarities: Tensor, pairs: PairSettings, start: int, stop: int, lowest: Tensor | None, log_mean: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute `dense_losses` of the anchors of items `start` to `stop - 1` from similarities to all contrasts."""
    weights, is_contrast = pairs.weights_and_contrasts(start, stop, similarities.dtype)
    weighting, decoupled = pairs.settings.weighting, pairs.settings.is_decoupled
    is_negative = is_contrast & (weights == 0)
    in_denominator = is_negative if decoupled else is_contrast
    total = weights.sum(dim=1)
    valid = (total > 0) & in_denominator.any(dim=1)
    if weighting.has_hard_negatives:
        assert lowest is not None
        contrast = hard_denominators(similarities, weights, is_negative, decoupled, weighting, lowest)
    else:
        contrast = torch.logsumexp(similarities.masked_fill(~in_denominator, -torch.inf), dim=1)
    if weighting.sigma is not None:
        assert lowest is not None
        assert log_mean is not None
        weights = positive_weights(similarities, weights, weighting, lowest, log_mean)
    attraction = (weights * similarities).sum(dim=1) / torch.where(valid, total, 1)
    return torch.where(valid, contrast - attraction, 0), valid
