"""Metrics for many weightings of the tracks at once, for the bootstrap.

scikit-learn's metrics take one weighting per call, so a hundred classes and hundreds of resamples would take minutes.
These functions sort the scores once and evaluate all resamples together. The weights (resamples, tracks) count how
often each track was drawn.
"""

from __future__ import annotations

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the weighted means (resamples,) of values (tracks,)."""
    return (weights @ values) / weights.sum(axis=1)


def weighted_macro_recall(correct: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the recalls (resamples,), averaged over the classes that occur in each resample.

    Args:
        correct: (tracks,) 1 where the prediction is correct, else 0.
        truth: (tracks,) class indices.
        weights: (resamples, tracks).
    """
    members = (truth[:, None] == np.unique(truth)).astype(float)
    hits, counts = weights @ (members * correct[:, None]), weights @ members
    recalls = np.divide(hits, counts, out=np.full_like(hits, np.nan), where=counts > 0)
    return np.nanmean(recalls, axis=1)


def weighted_r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute R² (resamples,) of numbers (tracks,); NaN where all numbers of a resample are the same."""
    total, truth = weights.sum(axis=1), truth.astype(float)
    centered = truth - truth.mean()
    squares = (weights @ centered**2) / total
    variance = squares - ((weights @ centered) / total) ** 2
    error = (weights @ (truth - predicted) ** 2) / total
    varies = variance > 1e-12 * squares  # smaller values are rounding errors
    return np.where(varies, 1 - error / np.where(varies, variance, 1.0), np.nan)


def weighted_average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the average precisions (resamples,) of one class.

    A resample without a positive or without a negative track gives NaN.

    Args:
        scores: (tracks,) scores; a higher score means a more likely positive.
        positive: (tracks,) bool.
        weights: (resamples, tracks) number of times that each bootstrap resample contains each track.
    """
    hits, drawn = _cumulated(scores, positive, weights)
    found = np.diff(hits, axis=1, prepend=0)
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    return _where_defined((found * precision).sum(axis=1), hits[:, -1], drawn[:, -1], hits[:, -1])


def weighted_roc_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the areas under the ROC curve (resamples,) of one class.

    A resample without a positive or without a negative track gives NaN. The arguments are those of
    `weighted_average_precision`.
    """
    hits, drawn = _cumulated(scores, positive, weights)
    misses = drawn - hits
    steps = np.diff(misses, axis=1, prepend=0)
    before = np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
    area = (steps * (hits + before) / 2).sum(axis=1)
    return _where_defined(area, hits[:, -1], drawn[:, -1], hits[:, -1] * misses[:, -1])


def _cumulated(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the positives, and all tracks, at or above each distinct score in descending order.

    Both counts have the shape (resamples, distinct scores).
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    sorted_weights = weights[:, order].astype(float)
    drawn = sorted_weights.cumsum(axis=1)[:, ends]
    sorted_weights *= positive[order]
    return sorted_weights.cumsum(axis=1)[:, ends], drawn


def _where_defined(value: np.ndarray, positives: np.ndarray, drawn: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    defined = (positives > 0) & (positives < drawn)
    return np.where(defined, value / np.where(defined, divisor, 1.0), np.nan)
