"""Confidence intervals by resampling groups of tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ssc_toolkit.data.cells import format_cells

RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval.

    Attributes:
        value: value on the whole sample.
        low, high: 2.5th and 97.5th percentiles over the resamples.

    Examples:
        >>> print(Interval(0.5, 0.4, 0.61), "and", Interval(np.nan, np.nan, np.nan))
        0.500 [0.400, 0.610] and undefined
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """Compute the mean of per-track values, with an interval from resampling whole groups (Efron 1979).

    Tracks of one group (versions of a tune, pieces of an artist) are not independent, so they are drawn together. For a
    paired comparison, pass the differences of two models on the same tracks. NaN values are ignored.

    Args:
        values: (tracks,) numbers.
        groups: (tracks,) group of each track.
        seed: seed of the resampling.

    Examples:
        >>> interval = bootstrap_mean(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 2]))
        >>> interval.value, interval.low <= 0.75 <= interval.high
        (0.75, True)
    """
    defined = np.isfinite(values)
    if not defined.any():
        return Interval(np.nan, np.nan, np.nan)
    values = values[defined]
    _, group = np.unique(np.asarray(groups)[defined], return_inverse=True)
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    weights = _resampling_weights(len(counts), seed)
    means = (weights @ sums) / (weights @ counts)
    return _interval(float(np.mean(values)), means)


def separate_unknown_groups(groups: np.ndarray) -> np.ndarray:
    """Return the groups of tracks, with each unknown group (NaN or None) replaced by a separate group.

    Examples:
        >>> separate_unknown_groups(np.array(["x", None, "x", None], dtype=object)).tolist()
        ['x', 'track 1', 'x', 'track 3']
    """
    unknown = pd.isna(groups)
    if not unknown.any():
        return groups
    return np.array([f"track {row}" if text is None else text for row, text in enumerate(format_cells(groups))])


def draw_weights(groups: np.ndarray, seed: int = 0, resamples: int = 200) -> np.ndarray:
    """Count how often each track is drawn when whole groups are resampled.

    Args:
        groups: (tracks,) group of each track.
        seed: seed of the resampling.
        resamples: number of resamples.

    Returns:
        (resamples, tracks) integers.
    """
    names, group = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    drawn = [random.integers(len(names), size=len(names)) for _ in range(resamples)]
    return np.stack([np.bincount(numbers, minlength=len(names))[group] for numbers in drawn])


def interval_over_runs(
    values: np.ndarray, resampled: np.ndarray, seed: int = 0, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """Compute the mean over S runs (seeds of a probe, subsets of the labels), with an interval over tracks and runs.

    Each resample of the tracks also draws S runs with replacement. Drawing from S runs reduces their variance by the
    factor (S - 1) / S, so the deviations are multiplied by sqrt(S / (S - 1)) (Davison and Hinkley, Bootstrap Methods
    and their Application, 1997, section 3.8).

    Args:
        values: (S,) value of each run on all tracks.
        resampled: (resamples, S) values of each run on resampled tracks.
        seed: seed of the draws of runs.
        bounds: minimum and maximum of the metric; the interval is clipped to them.

    Examples:
        >>> interval = interval_over_runs(np.array([0.4, 0.6]), np.tile([0.4, 0.6], (200, 1)))
        >>> interval.value, bool(interval.low < 0.4 < 0.6 < interval.high)
        (0.5, True)
    """
    count = len(values)
    means = resampled.mean(axis=1)
    if count > 1:
        drawn = np.random.default_rng([seed, 1]).integers(count, size=resampled.shape)
        deviations = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1) - means
        means = means + np.sqrt(count / (count - 1)) * deviations
    return _interval(float(np.mean(values)), means.clip(*bounds))


def _resampling_weights(groups: int, seed: int) -> np.ndarray:
    """Count how often each group is drawn in each resample, (RESAMPLES, groups)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = 100 * (1 - COVERAGE) / 2
    if np.isnan(resampled).all():
        return Interval(value, np.nan, np.nan)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
