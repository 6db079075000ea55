"""Scores of predictions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.metrics import confusion_matrix

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.metrics.bootstrap import (
    COVERAGE,
    Interval,
    bootstrap_mean,
    draw_weights,
    interval_over_runs,
    resample_runs,
)
from ssc_toolkit.evaluation.metrics.classification import Metric, find_metrics, undefined_classes

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Predictions:
    """Predictions for tracks, with the true labels.

    Attributes:
        outputs: (tracks, classes) predicted class scores, or (tracks, columns) predicted numbers.
        truth: true labels: (tracks,) class indices, (tracks, classes) multi-hot labels, or (tracks, columns) numbers.
        rows: (tracks,) row number of each track in the table.
        groups: (tracks,) group of each track. The bootstrap resamples groups.
        kind: "class", "multi-hot" or "number", as in `Labels`.
        names: names of the classes or columns.
        folds: (tracks,) fold of each track in cross-validation. None if a single probe predicted all tracks.
    """

    outputs: np.ndarray
    truth: np.ndarray
    rows: np.ndarray
    groups: np.ndarray
    kind: Kind
    names: tuple[str, ...]
    folds: np.ndarray | None = None


@dataclass(frozen=True)
class Score:
    """Metrics of predictions on tracks, with confidence intervals.

    Attributes:
        metric: name of the headline (main) metric: "accuracy", "average precision" (macro average), "r2" or "mAP".
        headline: value of the headline metric with its 95 % interval. The interval is over groups of tracks and, if
            there are several seeds, over seeds.
        others: values of the other metrics by name.
        tracks: number of scored tracks. For retrieval, number of queries.
        undefined_classes: number of classes that macro averages omit. For single-label classification, these are the
            classes that do not occur. For multi-label classification, they are the classes without a positive track or
            without a negative track. For regression, they are the constant columns.
        intervals: 95 % intervals of the other metrics by name.
        seeds: number of seeds that the values are averaged over.
        groups: number of groups of the scored tracks, over which the intervals are computed.
        folds: number of folds of cross-validation. It is 0 if a single probe predicted all tracks.
        correct: (tracks,) 1 if the predicted class is correct, else 0. None unless the task is single-label
            classification with one seed.
        rows: (tracks,) row number of each track in the table.
        predictions: the predictions that were scored, one element per seed. Empty for retrieval.
    """

    metric: str
    headline: Interval
    others: dict[str, float]
    tracks: int
    undefined_classes: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    seeds: int = 1
    groups: int = 0
    folds: int = 0
    correct: np.ndarray | None = field(default=None, repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)
    predictions: tuple[Predictions, ...] = field(default=(), repr=False)

    def confusion(self) -> pd.DataFrame:
        """Return the confusion matrix: the number of tracks of each true class (rows) and predicted class (columns).

        With several seeds, it is the mean of the numbers over the seeds.

        Raises:
            ValueError: unless the predictions are of one class per track.

        Examples:
            >>> truth, rows = np.array([0, 0, 1]), np.arange(3)
            >>> score = measure([Predictions(np.eye(2)[[0, 1, 1]], truth, rows, rows, "class", ("a", "b"))])
            >>> score.confusion().to_numpy().tolist()
            [[1.0, 1.0], [0.0, 1.0]]
        """
        if not self.predictions or self.predictions[0].kind != "class":
            raise ValueError("predictions: expected one class per track, got another kind of labels")
        names = self.predictions[0].names
        counts = [
            confusion_matrix(one.truth, one.outputs.argmax(axis=1), labels=range(len(names)))
            for one in self.predictions
        ]
        index = pd.Index(names, name="true")
        return pd.DataFrame(np.mean(counts, axis=0), index=index, columns=pd.Index(names, name="predicted"))


def measure(predictions: Sequence[Predictions], seed: int = 0) -> Score:
    """Compute the metrics of predictions, averaged over seeds.

    The confidence intervals come from a bootstrap over groups of tracks and over seeds (`interval_over_runs`). In
    cross-validation, all tracks are scored together, each one with the prediction of the probe that was not fitted to
    its group. Metrics of rankings compare only tracks of the same fold (`find_metrics`).

    Args:
        predictions: predictions for the same tracks, one element per seed of the probe.
        seed: seed of the bootstrap.

    Returns:
        The values of all metrics for the kind of labels, with 95 % confidence intervals.

    Raises:
        ValueError: if the predictions are for different tracks.
    """
    first = predictions[0]
    if any(not np.array_equal(other.rows, first.rows) for other in predictions[1:]):
        raise ValueError("predictions: expected the same tracks for every seed, got different tracks")
    metrics = find_metrics(first.kind, first.names)
    groups = _count_groups(predictions)
    intervals = {
        name: interval_over_runs(values[0], values[1:], seed, metrics[name].bounds, groups)
        for name, values in _by_run(metrics, predictions, seed).items()
    }
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
        undefined_classes(first.kind, first.names, first.truth, first.folds),
        dict(others),
        len(predictions),
        groups,
        0 if first.folds is None else len(np.unique(first.folds)),
        correct,
        first.rows,
        tuple(predictions),
    )


def relative_drop(clean: Score, corrupted: Score, seed: int = 0) -> Interval:
    r"""Compute the relative drop of the headline metric m, \(1 - m_\text{corrupted} / m_\text{clean}\).

    The interval comes from a paired bootstrap, which computes both metrics on the same resampled tracks and seeds. If
    the clean metric is not above 0, the drop is NaN.

    Args:
        clean: score on clean audio.
        corrupted: score of the same probes on the same tracks after corruption.
        seed: seed of the bootstrap.

    Returns:
        The relative drop with its 95 % interval.

    Raises:
        ValueError: if the two scores have different tracks, seeds or metrics.
    """
    if clean.seeds != corrupted.seeds:
        raise ValueError("clean, corrupted: expected scores of the same tracks, seeds and metric")
    before, after = _paired("clean, corrupted", clean, corrupted, seed)
    drops = np.where(before > 0, 1 - after / np.where(before > 0, before, 1.0), np.nan)
    lowest = find_metrics(clean.predictions[0].kind, clean.predictions[0].names)[clean.metric].bounds[0]
    bounds = (-np.inf, 1.0 if lowest == 0 else np.inf)
    return interval_over_runs(drops[0], drops[1:], seed, bounds, _count_groups(clean.predictions))


def paired_difference(first: Score, second: Score, seed: int = 0) -> Interval:
    """Compute the difference of the headline metrics of two scores, first minus second.

    The interval comes from a paired bootstrap, which computes both metrics on the same resampled groups of tracks. Both
    scores have the same number of seeds, or one score has a single seed, which is paired with every seed of the other.

    Args:
        first: score of one model on a task.
        second: score of another model on the same task.
        seed: seed of the bootstrap.

    Returns:
        The difference with its 95 % interval.

    Raises:
        ValueError: if the two scores have different tracks, seeds or metrics.
    """
    one, other = _paired("first, second", first, second, seed)
    differences = one - other
    return interval_over_runs(differences[0], differences[1:], seed, groups=_count_groups(first.predictions))


def detectable_difference(first: Score, second: Score, seed: int = 0, power: float = 0.8) -> float:
    r"""Compute the smallest difference of two headline metrics that these tracks could show.

    It is the minimum detectable effect of Bloom (Minimum Detectable Effects, Evaluation Review 19(5), 1995) for a
    two-sided test at the level \(\alpha = 0.05\): a true difference of this size is found with the probability
    `power`. SE is the standard error of the difference from the paired bootstrap over G groups and over seeds, as in
    `paired_difference`, and \(t_{p, G-1}\) is the quantile p of Student's t distribution with G - 1 degrees of freedom:

    \[
    \mathrm{MDE} = (t_{1 - \alpha / 2,\, G - 1} + t_{\mathrm{power},\, G - 1}) \, \mathrm{SE}, \qquad
    \mathrm{SE} = \sqrt{\tfrac{G}{G - 1}} \, \mathrm{SD}_\text{bootstrap}
    \]

    For many groups, the factor in parentheses is 2.8. The root corrects the variance of a bootstrap of G groups, which
    is too small by (G - 1) / G. SE depends on how often the two models disagree, so the value is different for other
    models. It does not contain the variation between training runs of an encoder.

    Args:
        first: score of one model on a task.
        second: score of another model on the same task.
        seed: seed of the bootstrap.
        power: probability to find a difference of the returned size, in (0.5, 1).

    Returns:
        The smallest detectable difference. It is NaN for a single group, and if the bootstrap differences are all
        equal, because then they do not estimate a standard error.

    Raises:
        ValueError: if the two scores have different tracks, folds, groups, seeds or metrics, or if the power is not in
            (0.5, 1).

    Examples:
        >>> truth, rows = np.arange(40) % 2, np.arange(40)
        >>> def score(correct):
        ...     outputs = np.eye(2)[np.where(rows < correct, truth, 1 - truth)]
        ...     return measure([Predictions(outputs, truth, rows, rows, "class", ("a", "b"))])
        >>> print(paired_difference(score(30), score(20)))
        0.250 [0.119, 0.433]
        >>> round(detectable_difference(score(30), score(20)), 1)
        0.2
    """
    if not 0.5 < power < 1:
        raise ValueError(f"power: expected a number above 0.5 and below 1, got {power}")
    one, other = _paired("first, second", first, second, seed)
    groups = _count_groups(first.predictions)
    deviation = float(np.nanstd(resample_runs((one - other)[1:], seed)))
    if groups < 2 or not deviation > _ROUNDING:
        return float("nan")
    factor = float(t.ppf(1 - (1 - COVERAGE) / 2, groups - 1) + t.ppf(power, groups - 1))
    return factor * deviation * float(np.sqrt(groups / (groups - 1)))


def _paired(names: str, first: Score, second: Score, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the headline metrics of two scores for each seed, on all tracks and on the same resampled tracks.

    `names` are the names of the two scores in error messages.

    Returns:
        Two arrays (1 + resamples, seeds), one per score. The first row is the metric on all tracks.
    """
    mine, other = first.predictions, second.predictions
    runs = {len(mine), len(other)} - {1}
    same = bool(mine and other) and first.metric == second.metric and len(runs) < 2
    if not same or not np.array_equal(mine[0].rows, other[0].rows):
        raise ValueError(f"{names}: expected scores of the same tracks, seeds and metric")
    if not np.array_equal(mine[0].groups, other[0].groups) or any(
        not np.array_equal(*pair) for pair in zip(_folds_of(mine), _folds_of(other), strict=False)
    ):
        raise ValueError(f"{names}: expected scores of the same folds and groups, got different ones")
    metrics = {first.metric: find_metrics(mine[0].kind, mine[0].names)[first.metric]}
    return _by_run(metrics, mine, seed)[first.metric], _by_run(metrics, other, seed)[first.metric]


def _folds_of(predictions: Sequence[Predictions]) -> list[np.ndarray]:
    """Return the folds of the predictions of each seed. Without cross-validation, they are empty arrays."""
    return [np.array([]) if one.folds is None else one.folds for one in predictions]


def _count_groups(predictions: Sequence[Predictions]) -> int:
    return len(np.unique(predictions[0].groups))


def _by_run(metrics: Mapping[str, Metric], predictions: Sequence[Predictions], seed: int) -> dict[str, np.ndarray]:
    """Compute metrics of the predictions of each seed, as an array (1 + resamples, seeds) for each metric.

    The first row is the metric on all tracks, and each other row that on one bootstrap resample. Within small folds, a
    ranking with repeated tracks has a higher average precision than one without. The mean over the resamples therefore
    estimates the bias, which is subtracted (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10).
    """
    blocks: dict[str, list[list[np.ndarray]]] = {name: [[] for _ in predictions] for name in metrics}
    for weights in draw_weights(predictions[0].groups, seed):
        for name, metric in metrics.items():
            for found, one in zip(blocks[name], predictions, strict=True):
                found.append(metric.resampled(one.outputs, one.truth, weights, one.folds))
    values = {}
    for name, metric in metrics.items():
        columns = []
        for found, one in zip(blocks[name], predictions, strict=True):
            value, resampled = metric.value(one.outputs, one.truth, one.folds), np.concatenate(found)
            if metric.is_of_ranking and one.folds is not None and np.isfinite(resampled).any():
                resampled = resampled - (np.nanmean(resampled) - value)
            columns.append(np.append(value, resampled))
        values[name] = np.stack(columns, axis=1)
    return values
