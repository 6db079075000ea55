"""Scores of predictions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ssc_toolkit.data.labels import Kind
from ssc_toolkit.evaluation.metrics.bootstrap import Interval, bootstrap_mean, draw_weights, interval_over_runs
from ssc_toolkit.evaluation.metrics.classification import Metric, find_metrics, undefined_classes


@dataclass(frozen=True)
class Predictions:
    """Predictions for tracks, with the true labels.

    Attributes:
        outputs: (tracks, classes) class scores, or (tracks, columns) numbers.
        truth: (tracks,) class indices, (tracks, classes) multi-hot rows, or (tracks, columns) numbers.
        rows: (tracks,) row number of each track in the table.
        groups: (tracks,) group of each track.
        kind: kind of the labels.
        names: names of the classes or columns.
    """

    outputs: np.ndarray
    truth: np.ndarray
    rows: np.ndarray
    groups: np.ndarray
    kind: Kind
    names: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """Metrics of predictions on tracks, with confidence intervals.

    Attributes:
        metric: name of the headline metric: "accuracy", "average precision" (macro), "r2", "mAP".
        headline: value of the headline metric with a 95 % interval over groups of tracks, and over seeds if there are
            several.
        others: values of the other metrics by name.
        tracks: number of tracks.
        undefined_classes: number of classes that the macro means omit. In a single-label task these are the classes
            that do not occur; in a multi-label task those without a positive or without a negative track; for numbers,
            the constant columns.
        intervals: 95 % intervals of the other metrics by name.
        seeds: number of seeds that the values are averaged over.
        correct: (tracks,) 0 or 1 for each track of a single-label task with one seed, for paired comparisons.
        rows: (tracks,) row number of each track in the table.
        predictions: the scored predictions, one element per seed.
    """

    metric: str
    headline: Interval
    others: dict[str, float]
    tracks: int
    undefined_classes: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    seeds: int = 1
    correct: np.ndarray | None = field(default=None, repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)
    predictions: tuple[Predictions, ...] = field(default=(), repr=False)


def measure(predictions: Sequence[Predictions], seed: int = 0) -> Score:
    """Score the predictions of one or several seeds for the same tracks.

    The values are means over the seeds. The intervals come from resampling groups of tracks and seeds
    (`interval_over_runs`).

    Args:
        predictions: predictions, one element per seed.
        seed: seed of the bootstrap.

    Raises:
        ValueError: if the predictions are for different tracks.
    """
    first = predictions[0]
    if any(not np.array_equal(other.rows, first.rows) for other in predictions[1:]):
        raise ValueError("predictions: expected the same tracks for every seed, got different tracks")
    metrics = find_metrics(first.kind, first.names)
    weights = draw_weights(first.groups, seed)
    intervals = {name: _interval(metric, predictions, weights, seed) for name, metric in metrics.items()}
    (headline, interval), *others = intervals.items()
    correct = None
    if first.kind == "class" and len(predictions) == 1:
        correct = (first.outputs.argmax(axis=1) == first.truth).astype(float)
        interval = bootstrap_mean(correct, first.groups, seed)
    return Score(
        headline,
        interval,
        {name: found.value for name, found in others},
        len(first.rows),
        undefined_classes(first.kind, first.names, first.truth),
        dict(others),
        len(predictions),
        correct,
        first.rows,
        tuple(predictions),
    )


def relative_drop(clean: Score, corrupted: Score, seed: int = 0) -> Interval:
    r"""Compute the fraction of the main metric (`headline`) that is lost, \(1 - m_\text{corrupted} / m_\text{clean}\).

    The interval comes from a paired bootstrap: both metrics are computed on the same resampled tracks and seeds. The
    drop is NaN where the clean metric is 0 or below.

    Args:
        clean: score on clean audio.
        corrupted: score of the same probes on the same tracks after corruption.
        seed: seed of the bootstrap.

    Raises:
        ValueError: if the two scores have different tracks, seeds or metrics.
    """
    if clean.seeds != corrupted.seeds:
        raise ValueError("clean, corrupted: expected scores of the same tracks, seeds and metric")
    before, after = _paired("clean, corrupted", clean, corrupted, seed)
    drops = np.where(before > 0, 1 - after / np.where(before > 0, before, 1.0), np.nan)
    lowest = find_metrics(clean.predictions[0].kind, clean.predictions[0].names)[clean.metric].bounds[0]
    return interval_over_runs(drops[0], drops[1:], seed, (-np.inf, 1.0 if lowest == 0 else np.inf))


def paired_difference(first: Score, second: Score, seed: int = 0) -> Interval:
    """Compute the difference of two headline metrics, first minus second, with the interval of a paired bootstrap.

    Both metrics are computed on the same resampled groups of tracks. With several seeds, both have the same seeds, or
    one of them has a single result, which is used for every seed.

    Args:
        first: score of one model on a task.
        second: score of another model on the same task.
        seed: seed of the bootstrap.

    Raises:
        ValueError: if the two scores have different tracks, seeds or metrics.
    """
    one, other = _paired("first, second", first, second, seed)
    differences = one - other
    return interval_over_runs(differences[0], differences[1:], seed)


def _paired(names: str, first: Score, second: Score, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the headline metrics of two scores by run, on all tracks and on the same resampled tracks.

    Returns:
        Two arrays (1 + resamples, runs), with the value on all tracks in the first row.
    """
    mine, other = first.predictions, second.predictions
    runs = {len(mine), len(other)} - {1}
    same = bool(mine and other) and first.metric == second.metric and len(runs) < 2
    if not same or not np.array_equal(mine[0].rows, other[0].rows):
        raise ValueError(f"{names}: expected scores of the same tracks, seeds and metric")
    metric = find_metrics(mine[0].kind, mine[0].names)[first.metric]
    weights = draw_weights(mine[0].groups, seed)
    return _by_run(metric, mine, weights), _by_run(metric, other, weights)


def _interval(metric: Metric, predictions: Sequence[Predictions], weights: np.ndarray, seed: int) -> Interval:
    values = _by_run(metric, predictions, weights)
    return interval_over_runs(values[0], values[1:], seed, metric.bounds)


def _by_run(metric: Metric, predictions: Sequence[Predictions], weights: np.ndarray) -> np.ndarray:
    """Return the metric of each run, (1 + resamples, runs): on all tracks, then on resampled tracks."""
    return np.stack(
        [
            np.append(metric.value(one.outputs, one.truth), metric.resampled(one.outputs, one.truth, weights))
            for one in predictions
        ],
        axis=1,
    )
