"""Weights of items by the size of their class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssc_toolkit.checks import check_number
from ssc_toolkit.targets.base import check_integers, check_vectors, values_are_readable


def class_balanced_weights(
    labels: Tensor, labeled: Tensor | None = None, *, counts: Tensor | None = None, beta: float = 1.0
) -> Tensor:
    r"""Compute weights that balance classes by their effective numbers of items (Cui et al. 2019, arXiv 1901.05555).

    An item of a class of n items has a weight proportional to \((1 - \beta) / (1 - \beta^n)\), or to 1 / n for
    \(\beta = 1\). The weights are scaled to the mean 1 over the labeled items of the training set, or of the batch
    without `counts`. Each unlabeled item has the weight 1. Pass the result as `anchor_weights` to a loss.

    Args:
        labels: (items,) integer class indices, at least 0.
        labeled: bool (items,), True where the labels are known. None: all labels are known.
        counts: (classes,) number of labeled items of each class in the training set. None: the numbers in this batch,
            which differ between batches, above all for rare classes.
        beta: number from 0 to 1. With 0, all items have the same weight. With 1, all classes have the same total
            weight.

    Returns:
        (items,) float32 weights.

    Raises:
        ValueError: if the shapes differ, `beta` is outside of 0 to 1, or `counts` is 0 for a class in `labels`.
        TypeError: if the labels are not integers, or `labeled` is not bool.

    Examples:
        >>> from ssc_toolkit.losses import SupConLoss
        >>> labels = torch.tensor([0, 0, 0, 1])
        >>> weights = class_balanced_weights(labels)
        >>> weights
        tensor([0.6667, 0.6667, 0.6667, 2.0000])
        >>> loss = SupConLoss()(torch.randn(4, 2, 16), labels, anchor_weights=weights)
    """
    check_vectors("class_balanced_weights", labels, "one class index per item")
    check_integers("class_balanced_weights", labels, "class indices")
    beta = check_number("beta", beta, 0, 1)
    if labeled is None:
        labeled = torch.ones_like(labels, dtype=torch.bool)
    elif not isinstance(labeled, Tensor) or labeled.dtype != torch.bool:
        raise TypeError(f"labeled: expected a tensor of bool, got {getattr(labeled, 'dtype', type(labeled).__name__)}")
    elif labeled.shape != labels.shape:
        raise ValueError(f"labeled: expected shape {tuple(labels.shape)}, got {tuple(labeled.shape)}")
    known = torch.where(labeled, labels.long(), 0)
    if values_are_readable(known) and bool((known < 0).any()):
        raise ValueError("labels: expected class indices >= 0, got a negative; mark unknown labels with labeled=False")
    if counts is None:
        # Classes are renumbered in the order of their indices, so that memory does not grow with the largest index.
        _, known, counts = torch.unique(torch.where(labeled, known, -1), return_inverse=True, return_counts=True)
        if not bool(labeled.all()):
            counts[0] = 0  # unlabeled items
    else:
        _check_counts(counts, known, labeled)
    numbers = counts.to(labels.device, torch.float64)
    # (1 - beta) / (1 - beta ** n) is 1 / n for beta = 1.
    weights = 1 / numbers if beta == 1 else (1 - beta) / -torch.expm1(numbers * math.log(beta)) if beta else numbers**0
    weights = torch.where(numbers > 0, weights, 0)
    weights = weights * numbers.sum() / (weights * numbers).sum().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(labeled, weights[known], 1).float()


def _check_counts(counts: Tensor, known: Tensor, labeled: Tensor) -> None:
    if not isinstance(counts, Tensor) or counts.dim() != 1 or len(counts) == 0 or counts.is_complex():
        kind = f"{counts.dtype} {tuple(counts.shape)}" if isinstance(counts, Tensor) else type(counts).__name__
        raise ValueError(f"counts: expected a tensor of numbers (classes,), got {kind}")
    if not values_are_readable(known):
        return
    if not bool(((counts >= 0) & (counts < math.inf)).all()):
        raise ValueError("counts: expected numbers of at least 0, got a negative, infinite or NaN value")
    classes = known[labeled]
    if bool((classes >= len(counts)).any()) or not bool((counts[classes.to(counts.device)] > 0).all()):
        raise ValueError("counts: expected at least 1 item for every class in labels, got 0 for some")
