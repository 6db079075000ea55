"""Weighting of pairs in the loss of an anchor: hard negatives (Robinson et al.) and positives (Yeh et al.)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.checks import check_fraction, check_number, check_positive


class Weighting(NamedTuple):
    """Settings of the weighting; with the defaults, all pairs have equal weight. See `semi_supcon_loss`.

    The functions of this module also take two tensors: `lowest` is the lowest possible similarity,
    -1 / temperature, and `log_mean` is, for each anchor, the logarithm of the mean of exp(cosine / `sigma`)
    over its positives.
    """

    beta: float = 0.0
    tau_plus: float = 0.0
    sigma: float | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether all pairs have equal weight."""
        return not self.has_hard_negatives and self.sigma is None

    @property
    def has_hard_negatives(self) -> bool:
        """Return whether negatives are weighted, or corrected for those that are in fact positives."""
        return self.beta > 0 or self.tau_plus > 0


def check_weighting(
    label_weight: float, beta: float, tau_plus: float, sigma: float | None
) -> tuple[float, float, float, float | None]:
    """Check the settings and return them as Python numbers, in the order of the arguments.

    Raises:
        ValueError: for a setting outside of its range.
    """
    if torch.compiler.is_compiling():  # checks of numbers cannot be traced; modules run them when they are created
        return label_weight, beta, tau_plus, sigma
    label_weight, beta = check_number("label_weight", label_weight, 0), check_number("beta", beta, 0)
    fraction = check_fraction("tau_plus", tau_plus)
    if fraction == 1:
        raise ValueError("tau_plus: expected a fraction below 1, got 1")
    return label_weight, beta, fraction, None if sigma is None else check_positive("sigma", sigma)


def hard_denominators(
    similarities: Tensor,
    weights: Tensor,
    is_negative: Tensor,
    decoupled: bool,
    weighting: Weighting,
    lowest: Tensor,
) -> Tensor:
    """Compute the logarithm of each anchor's denominator, (N,); if decoupled, -inf for an anchor without negatives.

    Args:
        similarities: (N, M) cosines divided by the temperature.
        weights: (N, M) target weights.
        is_negative: bool (N, M).
        decoupled: whether positives are left out of the denominator.
        weighting: settings, of which `beta` and `tau_plus` are used.
        lowest: scalar, -1 / temperature.
    """
    is_positive = weights > 0
    beta, tau_plus = weighting.beta, weighting.tau_plus
    count = is_negative.sum(dim=1)
    log_count = count.clamp(min=1).to(similarities.dtype).log()
    harder, by_hardness = similarities * (1 + beta), similarities * beta
    negatives = log_count + _logsumexp(harder, is_negative) - _logsumexp(by_hardness, is_negative)
    if tau_plus > 0:
        log_weights = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
        attracted = _logsumexp(harder + log_weights, is_positive) - _logsumexp(by_hardness + log_weights, is_positive)
        difference = attracted + log_count + math.log(tau_plus) - negatives
        is_left = difference < 0  # otherwise the estimate is not positive, and the lower bound replaces it
        corrected = negatives + torch.log(-torch.expm1(torch.where(is_left, difference, -1))) - math.log1p(-tau_plus)
        floor = log_count + lowest
        negatives = torch.where(is_left, torch.maximum(corrected, floor), floor)
    has_negatives = count > 0
    if decoupled:
        return torch.where(has_negatives, negatives, -torch.inf)
    positives = _logsumexp(similarities, is_positive)
    # Not -inf for an anchor without negatives, because logaddexp has no second derivative there.
    return torch.where(has_negatives, torch.logaddexp(positives, torch.where(has_negatives, negatives, 0)), positives)


def _logsumexp(values: Tensor, taken: Tensor) -> Tensor:
    """Compute logsumexp over the selected values, or over all if none is, so that unused gradients are finite."""
    left_out = ~taken & taken.any(dim=1, keepdim=True)
    return torch.logsumexp(values.masked_fill(left_out, -torch.inf), dim=1)


@torch.no_grad()
def positive_weights(
    similarities: Tensor, weights: Tensor, weighting: Weighting, lowest: Tensor, log_mean: Tensor
) -> Tensor:
    """Compute smaller weights for positives that are already similar to their anchor, (N, M), without a gradient.

    A target weight is multiplied by 2 - exp(cosine / sigma) / m, with m the mean of exp(cosine / sigma) over the
    positives of the anchor, whose logarithm is `log_mean` (Yeh et al. 2022, DCLW).
    """
    assert weighting.sigma is not None
    cosines = similarities / -lowest
    return torch.where(weights > 0, weights * (2 - torch.exp(cosines / weighting.sigma - log_mean)), 0)


@torch.no_grad()
def log_means(similarities: Tensor, weights: Tensor, weighting: Weighting, lowest: Tensor) -> Tensor:
    """Compute the log of each anchor's mean of exp(cosine / sigma) over its positives, (N,); -inf without positives."""
    assert weighting.sigma is not None
    cosines = similarities / -lowest
    total = weights.sum(dim=1)
    # log 0 = -inf excludes a pair.
    means = torch.logsumexp(cosines / weighting.sigma + weights.log(), dim=1) - total.log()
    return torch.where(total > 0, means, -torch.inf)
