"""Confidence intervals by resampling groups of tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval.

    Attributes:
        value: measured on the whole sample.
        low, high: 2.5th and 97.5th percentile over the resamples.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """Mean of per-track values, with an interval from resampling whole groups (Efron 1979).

    Tracks of one group (versions of a tune, pieces of an artist) are not independent: they are drawn
    together. For a paired comparison pass the differences of two models on the same tracks.

    Args:
        values: (tracks,) numbers.
        groups: (tracks,) group of each.
        seed: of the resampling.

    Examples:
        >>> interval = bootstrap_mean(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 2]))
        >>> interval.value, interval.low <= 0.75 <= interval.high
        (0.75, True)
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    weights = _resampling_weights(len(counts), seed)
    means = (weights @ sums) / (weights @ counts)
    return _interval(float(np.mean(values)), means)


def bootstrap_metric(
    metric: Callable[[np.ndarray], float], groups: np.ndarray, seed: int = 0, resamples: int = 200
) -> Interval:
    """A metric of a set of tracks, with an interval from resampling whole groups.

    Args:
        metric: function of row numbers (with repeats).
        groups: (tracks,) group of each.
        seed: of the resampling.
        resamples: how many.
    """
    names, group = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(len(names))]
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = random.integers(len(members), size=len(members))
        values.append(metric(np.concatenate([members[number] for number in drawn])))
    return _interval(metric(np.arange(len(groups))), np.array(values))


def _resampling_weights(groups: int, seed: int) -> np.ndarray:
    """How often each group is drawn in each resample, (RESAMPLES, groups)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
