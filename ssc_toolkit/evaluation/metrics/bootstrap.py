"""Bootstrap confidence intervals that resample groups of tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from ssc_toolkit.data.cells import format_cells

RESAMPLES = 1000
COVERAGE = 0.95
_BLOCK = 1 << 21  # number of counts of a block of resamples, which take 16 MB
MIN_GROUPS = 10
"""Number of groups below which a caution is printed."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap confidence interval.

    Attributes:
        value: value on all tracks.
        low, high: 2.5th and 97.5th percentiles of the values on the resampled tracks, after `expand_resampled`.

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
    """Compute the mean of one value per track, and its bootstrap interval (Efron, 1979) over groups of tracks.

    Tracks of one group, such as the tracks of an artist, are not independent. The bootstrap therefore resamples whole
    groups. The interval is wider for few groups (`expand_resampled`), but stays within the range of the values. For a
    paired comparison of two models, pass their differences on the same tracks. NaN values are ignored.

    Args:
        values: (tracks,) value of each track.
        groups: (tracks,) group of each track.
        seed: seed of the bootstrap.

    Returns:
        The mean over all tracks, with its 95 % interval.

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
    means = np.concatenate([(weights @ sums) / (weights @ counts) for weights in _group_weights(len(counts), seed)])
    means = expand_resampled(means, len(counts)).clip(values.min(), values.max())
    return _interval(float(np.mean(values)), means)


def expand_resampled(resampled: np.ndarray, groups: int) -> np.ndarray:
    r"""Multiply the deviations of resampled values from their mean, so that intervals over few groups are wide enough.

    The variance of a bootstrap of G groups is too small by (G - 1) / G, and its percentiles ignore that the variance is
    estimated. The factor is that of the expanded percentile interval (Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 69(4), 2015), with quantiles of Student's t distribution and of the normal
    distribution:

    \[ \sqrt{\tfrac{G}{G - 1}} \; \frac{t_{0.975,\, G - 1}}{z_{0.975}} \]

    Args:
        resampled: (resamples,) values on resampled tracks.
        groups: number of groups G.

    Returns:
        The values (resamples,). They are NaN for a single group, from which no variance can be estimated.

    Examples:
        >>> expand_resampled(np.array([0.4, 0.6]), 5).round(2).tolist(), expand_resampled(np.ones(1), 1).tolist()
        ([0.34, 0.66], [nan])
    """
    if groups < 2:
        return np.full_like(resampled, np.nan)
    if np.isnan(resampled).all():
        return resampled
    quantile = 1 - (1 - COVERAGE) / 2
    factor = np.sqrt(groups / (groups - 1)) * t.ppf(quantile, groups - 1) / norm.ppf(quantile)
    center = np.nanmean(resampled)
    return center + factor * (resampled - center)


def separate_unknown_groups(groups: np.ndarray) -> np.ndarray:
    """Replace each unknown group (NaN or None) in groups (tracks,) by a group that contains only that track.

    Examples:
        >>> separate_unknown_groups(np.array(["x", None, "x", None], dtype=object)).tolist()
        ['x', 'track 1', 'x', 'track 3']
    """
    unknown = pd.isna(groups)
    if not unknown.any():
        return groups
    return np.array([f"track {row}" if text is None else text for row, text in enumerate(format_cells(groups))])


def draw_weights(groups: np.ndarray, seed: int = 0, resamples: int = 200) -> Iterator[np.ndarray]:
    """Resample whole groups with replacement, and count how often each resample contains each track.

    The counts are drawn in blocks of resamples, so that the memory does not grow with tracks times resamples.

    Args:
        groups: (tracks,) group of each track.
        seed: seed of the bootstrap.
        resamples: number of resamples.

    Yields:
        (resamples of the block, tracks) integer counts.
    """
    names, group = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    for size in _block_sizes(resamples, len(group)):
        drawn = [random.integers(len(names), size=len(names)) for _ in range(size)]
        yield np.stack([np.bincount(numbers, minlength=len(names))[group] for numbers in drawn])


def interval_over_runs(
    values: np.ndarray,
    resampled: np.ndarray,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    groups: int | None = None,
) -> Interval:
    """Compute the mean of a metric over S runs, and its bootstrap interval over tracks and runs.

    A run is one fit of a probe, with its own seed and selection of labels. Each resample draws tracks, and also draws
    S runs with replacement. The variance of the drawn runs is too small by the factor (S - 1) / S. The
    deviations from the mean over the runs are therefore multiplied by sqrt(S / (S - 1)) (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8).

    Args:
        values: (S,) metric of each run on all tracks.
        resampled: (resamples, S) metric of each run on resampled tracks.
        seed: seed of the resampling of runs.
        bounds: minimum and maximum of the metric. The interval is clipped to them.
        groups: number of groups of the tracks, for `expand_resampled`. None does not widen the interval.

    Returns:
        The mean over the runs, with its 95 % interval.

    Examples:
        >>> interval = interval_over_runs(np.array([0.4, 0.6]), np.tile([0.4, 0.6], (200, 1)))
        >>> interval.value, bool(interval.low < 0.4 < 0.6 < interval.high)
        (0.5, True)
    """
    means = resample_runs(resampled, seed)
    if groups is not None:
        means = expand_resampled(means, groups)
    return _interval(float(np.mean(values)), means.clip(*bounds))


def resample_runs(resampled: np.ndarray, seed: int = 0) -> np.ndarray:
    """Compute the mean of a metric over drawn runs for each resample, (resamples,), as for `interval_over_runs`.

    Args:
        resampled: (resamples, S) metric of each run on resampled tracks.
        seed: seed of the resampling of runs.
    """
    count = resampled.shape[1]
    means = resampled.mean(axis=1)
    if count == 1:
        return means
    drawn = np.random.default_rng([seed, 1]).integers(count, size=resampled.shape)
    deviations = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1) - means
    return means + np.sqrt(count / (count - 1)) * deviations


def caution_few_groups(groups: int) -> str | None:
    """Return a caution about intervals over fewer than ten groups, or None if there are more groups.

    Examples:
        >>> caution_few_groups(5)[:31], caution_few_groups(10)
        ('Caution: the intervals are from', None)
    """
    if groups >= MIN_GROUPS:
        return None
    return (
        f"Caution: the intervals are from {groups} group{'s' * (groups != 1)} of tracks. Intervals from fewer than ten "
        "groups are unreliable (Cameron, Gelbach and Miller, 2008)."
    )


def _group_weights(groups: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each of `RESAMPLES` bootstrap resamples contains each of the groups, in blocks of resamples."""
    random = np.random.default_rng(seed)
    for size in _block_sizes(RESAMPLES, groups):
        yield random.multinomial(groups, np.full(groups, 1 / groups), size=size)


def _block_sizes(resamples: int, width: int) -> Iterator[int]:
    """Yield the numbers of resamples of the blocks in which `resamples` with `width` counts each are drawn."""
    most = max(1, _BLOCK // max(1, width))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = 100 * (1 - COVERAGE) / 2
    if np.isnan(resampled).all():
        return Interval(value, np.nan, np.nan)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
