"""Metrics of predictions from scikit-learn and mir_eval, averaged over the classes for which they are defined."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, r2_score, recall_score, roc_auc_score

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.metrics import weighted
from ssc_toolkit.evaluation.metrics.key import are_keys, compute_key_weights


@dataclass(frozen=True)
class Metric:
    """A metric that compares the outputs of a probe with the true labels.

    The outputs have the shape (tracks, classes or columns). The true labels have the format of `Labels.values`.

    Attributes:
        value: function that takes outputs and true labels, and returns the value of the metric.
        resampled: function that takes outputs, true labels and weights (resamples, tracks), and returns one value per
            resample.
        bounds: minimum and maximum of the metric.
    """

    value: Callable[[np.ndarray, np.ndarray], float]
    resampled: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    bounds: tuple[float, float] = (0.0, 1.0)


def find_metrics(kind: Kind, names: tuple[str, ...]) -> Mapping[str, Metric]:
    """Return the metrics for a kind of labels. The first one is the headline (main) metric.

    | `kind` | metrics |
    |---|---|
    | "class" | accuracy, macro recall over the classes that occur, and (if all classes are keys) MIREX weighted score |
    | "multi-hot" | average precision and area under the ROC curve, averaged over classes |
    | "number" | R² averaged over columns, and R² of each column |

    Average precision and the area under the ROC curve are undefined for a class without a positive track or without a
    negative track. R² is undefined for a column whose numbers are all the same. The averages omit undefined classes and
    columns. `undefined_classes` counts them.

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


def undefined_classes(kind: Kind, names: tuple[str, ...], truth: np.ndarray) -> int:
    """Count the classes or number columns that the averages of `find_metrics` omit because their metric is undefined.

    Args:
        kind: "class", "multi-hot" or "number", as in `Labels`.
        names: names of the classes or columns.
        truth: true labels of the scored tracks, as `Labels.values`.
    """
    if kind == "number":
        return len(names) - len(_varying(truth, slice(None)))
    if kind == "class":
        return len(names) - len(np.unique(truth))
    return int((~defined_classes(truth)).sum())


def defined_classes(truth: np.ndarray) -> np.ndarray:
    """Return a mask (classes,) that is True for classes with both a positive and a negative track.

    Args:
        truth: (tracks, classes) multi-hot labels.
    """
    return np.asarray((truth > 0).any(axis=0) & (truth <= 0).any(axis=0))


def _correct(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (outputs.argmax(axis=1) == truth).astype(float)


def _mean_of(values: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Metric:
    """Return a metric that is the mean of one value per track.

    `values` is a function from outputs and true labels to these values, (tracks,).
    """
    return Metric(
        lambda outputs, truth: float(values(outputs, truth).mean()),
        lambda outputs, truth, weights: weighted.weighted_mean(values(outputs, truth), weights),
    )


def _macro_recall(outputs: np.ndarray, truth: np.ndarray) -> float:
    return float(recall_score(truth, outputs.argmax(axis=1), labels=np.unique(truth), average="macro"))


def _resampled_macro_recall(outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
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

    def mean(outputs: np.ndarray, truth: np.ndarray) -> float:
        values = [metric(truth[:, c], outputs[:, c]) for c in np.flatnonzero(defined_classes(truth))]
        return float(np.mean(values)) if values else float("nan")

    def means(outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
        classes = np.flatnonzero(defined_classes(truth))
        values = [resampled(outputs[:, c], truth[:, c] > 0, weights) for c in classes]
        return _mean_of_defined(np.array(values).reshape(len(classes), len(weights)))

    return Metric(mean, means)


def _r2(columns: slice) -> Metric:
    """Return a metric that averages R² over those of the given `columns` whose true numbers are not constant.

    It is NaN if there are no such columns.
    """

    def mean(outputs: np.ndarray, truth: np.ndarray) -> float:
        chosen = _varying(truth, columns)
        return float(r2_score(truth[:, chosen], outputs[:, chosen])) if len(chosen) else float("nan")

    def means(outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
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
