"""Metrics of predictions from scikit-learn and mir_eval, averaged over the classes for which they are defined."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.metrics import average_precision_score, r2_score, recall_score, roc_auc_score

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.metrics import weighted
from ssc_toolkit.evaluation.metrics.key import are_keys, compute_key_weights


class Value(Protocol):
    """Function that computes a metric from outputs, true labels and the fold of each track, or None for one fold."""

    def __call__(self, outputs: np.ndarray, truth: np.ndarray, folds: np.ndarray | None = None) -> float: ...


class Resampled(Protocol):
    """Function that computes a metric on each of several bootstrap resamples, as an array (resamples,)."""

    def __call__(
        self, outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray, folds: np.ndarray | None = None
    ) -> np.ndarray: ...


@dataclass(frozen=True)
class Metric:
    """A metric that compares the outputs of a probe with the true labels.

    The outputs have the shape (tracks, classes or columns). The true labels have the format of `Labels.values`. In
    cross-validation, all tracks of a fold are predicted by the same probe. Metrics of rankings compare only tracks of
    the same fold, because the scores of two probes have different scales. The other metrics ignore the folds.

    Attributes:
        value: function that takes outputs, true labels and folds, and returns the value of the metric.
        resampled: function that takes outputs, true labels, weights (resamples, tracks) and folds, and returns one
            value per resample.
        bounds: minimum and maximum of the metric.
        is_of_ranking: whether the metric compares the scores of tracks with each other.
    """

    value: Value
    resampled: Resampled
    bounds: tuple[float, float] = (0.0, 1.0)
    is_of_ranking: bool = False


def find_metrics(kind: Kind, names: tuple[str, ...]) -> Mapping[str, Metric]:
    """Return the metrics for a kind of labels. The first one is the headline (main) metric.

    | `kind` | metrics |
    |---|---|
    | "class" | accuracy, macro recall over the classes that occur, and (if all classes are keys) MIREX weighted score |
    | "multi-hot" | average precision and area under the ROC curve, averaged over classes |
    | "number" | R² averaged over columns, and R² of each column |

    Average precision and the area under the ROC curve are undefined for a class without a positive track or without a
    negative track. If there are folds, they are computed within each fold where they are defined, and averaged over the
    folds with the numbers of positive tracks as weights (for equal numbers the mean over the folds of Forman and
    Scholz, Apples-to-Apples in Cross-Validation Studies, 2010).

    R² is undefined for a column whose numbers are all the same. The averages omit undefined classes and columns.
    `undefined_classes` counts them.

    Args:
        kind: "class", "multi-hot" or "number", as in `Labels`.
        names: names of the classes or columns.

    Returns:
        The metrics by name.
    """
    if kind == "multi-hot":
        return {
            "average precision": _macro(average_precision_score, weighted.weighted_average_precision),
            "roc_auc": _macro(roc_auc_score, weighted.weighted_roc_auc),
        }
    if kind == "number":
        every = slice(0, len(names))
        columns = {f"r2_{name}": _r2(slice(c, c + 1)) for c, name in enumerate(names)} if len(names) > 1 else {}
        return {"r2": _r2(every), **columns}
    metrics = {"accuracy": _mean_of(_correct), "macro_recall": Metric(_macro_recall, _resampled_macro_recall)}
    if are_keys(names):
        weights = compute_key_weights(names)
        metrics["weighted_key_score"] = _mean_of(lambda outputs, truth: weights[truth, outputs.argmax(axis=1)])
    return metrics


def undefined_classes(kind: Kind, names: tuple[str, ...], truth: np.ndarray, folds: np.ndarray | None = None) -> int:
    """Count the classes or number columns that the averages of `find_metrics` omit because their metric is undefined.

    Args:
        kind: "class", "multi-hot" or "number", as in `Labels`.
        names: names of the classes or columns.
        truth: true labels of the scored tracks, as `Labels.values`.
        folds: (tracks,) fold of each track. None for one fold.
    """
    if kind == "number":
        return len(names) - len(_varying(truth, slice(None)))
    if kind == "class":
        return len(names) - len(np.unique(truth))
    return int((~defined_classes(truth, folds)).sum())


def defined_classes(truth: np.ndarray, folds: np.ndarray | None = None) -> np.ndarray:
    """Return a mask (classes,) that is True for classes with both a positive and a negative track in some fold.

    Args:
        truth: (tracks, classes) multi-hot labels.
        folds: (tracks,) fold of each track. None for one fold.
    """
    parts = [truth[own] > 0 for own in _split_folds(folds, len(truth))]
    return np.any([part.any(axis=0) & ~part.all(axis=0) for part in parts], axis=0)


def _split_folds(folds: np.ndarray | None, tracks: int) -> list[np.ndarray]:
    """Return the indices of the tracks of each fold."""
    return [np.arange(tracks)] if folds is None else [np.flatnonzero(folds == fold) for fold in np.unique(folds)]


def _correct(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (outputs.argmax(axis=1) == truth).astype(float)


def _mean_of(values: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Metric:
    """Return a metric that is the mean of one value per track.

    `values` is a function from outputs and true labels to these values, (tracks,).
    """
    return Metric(
        lambda outputs, truth, folds=None: float(values(outputs, truth).mean()),
        lambda outputs, truth, weights, folds=None: weighted.weighted_mean(values(outputs, truth), weights),
    )


def _macro_recall(outputs: np.ndarray, truth: np.ndarray, folds: np.ndarray | None = None) -> float:
    return float(recall_score(truth, outputs.argmax(axis=1), labels=np.unique(truth), average="macro"))


def _resampled_macro_recall(
    outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray, folds: np.ndarray | None = None
) -> np.ndarray:
    return weighted.weighted_macro_recall(_correct(outputs, truth), truth, weights)


def _macro(
    metric: Callable[..., float], resampled: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> Metric:
    """Return a metric of multi-hot labels that averages over the classes for which it is defined.

    It is NaN if there are no such classes.

    Args:
        metric: function from the labels and outputs of one class, (tracks,) each, to its value.
        resampled: function from the outputs and labels of one class, (tracks,) each, and weights (resamples, tracks) to
            the values on all resamples, (resamples,).
    """

    def mean(outputs: np.ndarray, truth: np.ndarray, folds: np.ndarray | None = None) -> float:
        parts, values = _split_folds(folds, len(truth)), []
        for c in np.flatnonzero(defined_classes(truth, folds)):
            own = [part for part in parts if 0 < (truth[part, c] > 0).sum() < len(part)]
            found = [metric(truth[part, c], outputs[part, c]) for part in own]
            values.append(np.average(found, weights=[(truth[part, c] > 0).sum() for part in own]))
        return float(np.mean(values)) if values else float("nan")

    def means(
        outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray, folds: np.ndarray | None = None
    ) -> np.ndarray:
        parts, classes = _split_folds(folds, len(truth)), np.flatnonzero(defined_classes(truth, folds))
        values = []
        for c in classes:
            positive = truth[:, c] > 0
            found = np.array([resampled(outputs[part, c], positive[part], weights[:, part]) for part in parts])
            counts = np.array([weights[:, part] @ positive[part].astype(float) for part in parts])
            counts[np.isnan(found)] = 0  # the class is undefined in this fold of the resample
            total = counts.sum(axis=0)
            sums = (np.nan_to_num(found) * counts).sum(axis=0)
            values.append(np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan))
        return _mean_of_defined(np.array(values).reshape(len(classes), len(weights)))

    return Metric(mean, means, is_of_ranking=True)


def _r2(columns: slice) -> Metric:
    """Return a metric that averages R² over those of the given `columns` whose true numbers are not constant.

    It is NaN if there are no such columns.
    """

    def mean(outputs: np.ndarray, truth: np.ndarray, folds: np.ndarray | None = None) -> float:
        chosen = _varying(truth, columns)
        return float(r2_score(truth[:, chosen], outputs[:, chosen])) if len(chosen) else float("nan")

    def means(
        outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray, folds: np.ndarray | None = None
    ) -> np.ndarray:
        chosen = _varying(truth, columns)
        values = [weighted.weighted_r2(outputs[:, c], truth[:, c], weights) for c in chosen]
        return _mean_of_defined(np.array(values).reshape(len(chosen), len(weights)))

    return Metric(mean, means, (-np.inf, 1.0))


def _varying(truth: np.ndarray, columns: slice) -> np.ndarray:
    """Return the indices of those `columns` of true numbers `truth`, (tracks, columns), that are not constant."""
    chosen = np.arange(truth.shape[1])[columns]
    return chosen[(truth[:, chosen] != truth[:1, chosen]).any(axis=0)]


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Average values (classes, resamples) over classes, ignoring NaN. The result has the shape (resamples,)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return np.nanmean(values, axis=0)
