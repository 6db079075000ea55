"""Losses of anchors computed from the whole matrix of similarities of anchors and contrasts."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.losses.pairs import PairSettings
from ssc_toolkit.losses.weighting import hard_denominators, positive_weights


def dense_losses(
    queries: Tensor, keys: Tensor, pairs: PairSettings, lowest: Tensor | None = None, log_mean: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the loss of each of N anchors, and a mask of the anchors that are counted in the mean.

    An anchor is valid if it has positives and its denominator is not empty. An invalid anchor has loss 0.

    Args:
        queries: (N, dim) embeddings of the anchors, scaled to length 1 and divided by the temperature.
        keys: (M, dim) embeddings of the M contrasts, scaled to length 1.
        pairs: labels of the queries and keys, and settings of the loss.
        lowest: scalar tensor, -1 / temperature. Required if negatives or positives are weighted.
        log_mean: scalar tensor, log E as in the docstring of `Weighting`. Required if positives are weighted.

    Returns:
        Losses (N,), and bool (N,), True where an anchor is valid.
    """
    return compute_losses(queries @ keys.T, pairs, 0, len(pairs.anchors.items), lowest, log_mean)


def compute_losses(
    similarities: Tensor, pairs: PairSettings, start: int, stop: int, lowest: Tensor | None, log_mean: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute losses of the anchors of items `start` to `stop - 1`, as `dense_losses` does.

    Args:
        similarities: (R, M) cosines divided by the temperature, of the R anchors of these items and all M contrasts.
        pairs: labels of all anchors and contrasts, and settings of the loss.
        start: index of the first item.
        stop: index after the last item.
        lowest: as for `dense_losses`.
        log_mean: as for `dense_losses`.

    Returns:
        Losses (R,), and bool (R,), True where an anchor is valid.
    """
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
