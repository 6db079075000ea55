"""Metrics on all bootstrap resamples at once.

The weights (resamples, tracks) count how often each resample contains each track. scikit-learn's metrics take the
weights of one resample per call, which would take minutes for a hundred classes and hundreds of resamples. The
functions in this file sort the scores once for all resamples.
"""

from __future__ import annotations

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the mean of values (tracks,) on each bootstrap resample, as an array (resamples,).

    `weights`, (resamples, tracks), count how often each resample contains each track.
    """
    return (weights @ values) / weights.sum(axis=1)


def weighted_macro_recall(correct: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the macro recall on each bootstrap resample, over the classes in the resample, as an array (resamples,).

    Args:
        correct: (tracks,) 1 where the prediction is correct, else 0.
        truth: (tracks,) true class indices.
        weights: (resamples, tracks) number of times that each resample contains each track.
    """
    members = (truth[:, None] == np.unique(truth)).astype(float)
    hits, counts = weights @ (members * correct[:, None]), weights @ members
    recalls = np.divide(hits, counts, out=np.full_like(hits, np.nan), where=counts > 0)
    return np.nanmean(recalls, axis=1)


def weighted_r2(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute R² of predicted and true numbers (tracks,) on each bootstrap resample, as an array (resamples,).

    `weights`, (resamples, tracks), count how often each resample contains each track. R² is NaN if all true numbers of
    a resample are the same.
    """
    total, truth = weights.sum(axis=1), truth.astype(float)
    centered = truth - truth.mean()
    squares = (weights @ centered**2) / total
    variance = squares - ((weights @ centered) / total) ** 2
    error = (weights @ (truth - predicted) ** 2) / total
    varies = variance > 1e-12 * squares  # a smaller variance is a rounding error
    return np.where(varies, 1 - error / np.where(varies, variance, 1.0), np.nan)


def weighted_average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the average precision of one class on each bootstrap resample, as an array (resamples,).

    The value is NaN for a resample without a positive track or without a negative track.

    Args:
        scores: (tracks,) scores. A track with a higher score is more likely to be positive.
        positive: (tracks,) bool, True for positive tracks.
        weights: (resamples, tracks) number of times that each resample contains each track.
    """
    hits, drawn = _cumulated(scores, positive, weights)
    found = np.diff(hits, axis=1, prepend=0)
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    return _where_defined((found * precision).sum(axis=1), hits[:, -1], drawn[:, -1], hits[:, -1])


def weighted_roc_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve of one class on each bootstrap resample, as an array (resamples,).

    The value is NaN for a resample without a positive track or without a negative track. The arguments are the same as
    for `weighted_average_precision`.
    """
    hits, drawn = _cumulated(scores, positive, weights)
    misses = drawn - hits
    steps = np.diff(misses, axis=1, prepend=0)
    before = np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
    area = (steps * (hits + before) / 2).sum(axis=1)
    return _where_defined(area, hits[:, -1], drawn[:, -1], hits[:, -1] * misses[:, -1])


def _cumulated(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count for each distinct score the positive tracks, and all tracks, with at least this score on each resample.

    Arguments are as for `weighted_average_precision`.

    Both counts have the shape (resamples, distinct scores). The distinct scores are in descending order.
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
