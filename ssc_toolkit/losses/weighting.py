"""Weighting of negatives by hardness (Robinson et al. 2021) and of positives by distance (Yeh et al. 2022)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.checks import check_fraction, check_number, check_positive


class Weighting(NamedTuple):
    """Settings of the weighting of negatives and positives. With the defaults, all pairs have equal weight.

    Some functions of this module also have two scalar tensors as arguments. `lowest` is the lowest possible similarity,
    -1 / temperature. `log_mean` is the logarithm of E in the docstring of `semi_supcon_loss`: the mean of exp(cosine /
    `sigma`) over the positives of an anchor, averaged over all anchors.

    Attributes:
        beta: concentration of the hard negatives, as for `semi_supcon_loss`.
        tau_plus: probability that a negative is in fact a positive.
        sigma: width of the weighting of positives. None: positives are not weighted.
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
        """Return whether `beta` or `tau_plus` changes the contribution of negatives."""
        return self.beta > 0 or self.tau_plus > 0


def check_weighting(
    label_weight: float, beta: float, tau_plus: float, sigma: float | None
) -> tuple[float, float, float, float | None]:
    """Check settings of a loss, and return them as Python numbers in the order of the arguments.

    Raises:
        ValueError: if a setting is outside of its range in the docstring of `semi_supcon_loss`.
    """
    if torch.compiler.is_compiling():  # these checks cannot be traced; modules run them in their constructor
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
    """Compute the logarithm of the denominator of the loss of each of N anchors, with weighted negatives, (N,).

    Args:
        similarities: (N, M) cosines of the anchors and the M contrasts, divided by the temperature.
        weights: (N, M) target weights.
        is_negative: bool (N, M), True where a contrast is a negative.
        decoupled: whether positives are left out of the denominator. An anchor without negatives then gets -inf.
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
        is_left = difference < 0  # otherwise the estimate is not positive and is replaced by its lower bound
        corrected = negatives + torch.log(-torch.expm1(torch.where(is_left, difference, -1))) - math.log1p(-tau_plus)
        floor = log_count + lowest
        negatives = torch.where(is_left, torch.maximum(corrected, floor), floor)
    has_negatives = count > 0
    if decoupled:
        return torch.where(has_negatives, negatives, -torch.inf)
    positives = _logsumexp(similarities, is_positive)
    # For an anchor without negatives, logaddexp gets 0 and not -inf, where it has no second derivative.
    return torch.where(has_negatives, torch.logaddexp(positives, torch.where(has_negatives, negatives, 0)), positives)


def _logsumexp(values: Tensor, taken: Tensor) -> Tensor:
    """Compute logsumexp of each row over the entries where `taken` is True, or over all entries if none is.

    The caller does not use a result over all entries, but its gradient must be finite.
    """
    left_out = ~taken & taken.any(dim=1, keepdim=True)
    return torch.logsumexp(values.masked_fill(left_out, -torch.inf), dim=1)


@torch.no_grad()
def positive_weights(
    similarities: Tensor, weights: Tensor, weighting: Weighting, lowest: Tensor, log_mean: Tensor
) -> Tensor:
    """Compute weights of positives, (N, M), that are smaller for positives more similar to their anchor.

    Each target weight is multiplied by 2 - exp(cosine / sigma) / exp(log_mean) (Yeh et al. 2022, DCLW). The result has
    no gradient.

    Args:
        similarities: (N, M) cosines of N anchors and M contrasts, divided by the temperature.
        weights: (N, M) target weights.
        weighting: settings, of which `sigma` is used.
        lowest: scalar, -1 / temperature.
        log_mean: scalar, log E as in the docstring of `Weighting`.
    """
    assert weighting.sigma is not None
    cosines = similarities / -lowest
    return torch.where(weights > 0, weights * (2 - torch.exp(cosines / weighting.sigma - log_mean)), 0)


@torch.no_grad()
def log_means(similarities: Tensor, weights: Tensor, weighting: Weighting, lowest: Tensor) -> Tensor:
    """Compute the logarithm of the mean of exp(cosine / sigma) over the positives of each anchor, (N,).

    The mean is weighted by the target weights. An anchor without positives gets -inf. Arguments are as for
    `positive_weights`.
    """
    assert weighting.sigma is not None
    cosines = similarities / -lowest
    total = weights.sum(dim=1)
    # A pair with weight 0 is excluded, because log 0 = -inf.
    means = torch.logsumexp(cosines / weighting.sigma + weights.log(), dim=1) - total.log()
    return torch.where(total > 0, means, -torch.inf)
