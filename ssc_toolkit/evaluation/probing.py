"""Linear probes on frozen embeddings."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, recall_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssc_toolkit.data import Labels, encode_labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean, bootstrap_metric

REGULARISATIONS = (0.01, 0.1, 1.0)
"""Inverse strengths among which the validation split chooses."""


@dataclass(frozen=True)
class Score:
    """How well a probe does on some tracks.

    Attributes:
        metric: name of the headline metric, "accuracy" or "average precision" (macro).
        headline: its value with a 95 % interval over groups of tracks.
        others: further metrics.
        intervals: 95 % intervals of the further metrics that have one.
        tracks: number of tracks.
        undefined_classes: multi-label classes without a positive or without a negative track, left out
            of the macro means.
        correct: (tracks,) 0 or 1 for each track of a single-label task, for paired comparisons.
        rows: (tracks,) row of each in the table.
    """

    metric: str
    headline: Interval
    others: dict[str, float]
    tracks: int
    undefined_classes: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    correct: np.ndarray | None = field(default=None, repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """What a report stores: all but the arrays."""
        content = asdict(self)
        del content["correct"], content["rows"]
        return content


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe for one label column.

    Attributes:
        column: the label column.
        classifier: scikit-learn pipeline of standardisation and logistic regression.
        regularisation: inverse strength that the validation split chose.
        labels: of all tracks of the table.
    """

    column: str
    classifier: Any
    regularisation: float
    labels: Labels

    def score(
        self, embeddings: np.ndarray, tracks: pd.DataFrame, subset: np.ndarray | None = None, seed: int = 0
    ) -> Score:
        """Score the probe on the tracks of the test split.

        Args:
            embeddings: (tracks, dim), one row a track of the whole table; only test rows are read.
            tracks: the table that the probe was fitted on.
            subset: (tracks,) bool, to score some of the test tracks only.
            seed: of the bootstrap.

        Raises:
            InputError: if no test track is left.
        """
        rows = _usable_rows(embeddings, tracks, self.labels, "test")
        if subset is not None:
            rows = rows[subset[rows]]
        if len(rows) == 0:
            raise InputError(f"labels: no test track to score column {self.column!r} on")
        truth = self.labels.values.numpy()[rows]
        groups = tracks["group"].to_numpy()[rows] if "group" in tracks else rows
        if self.labels.is_multi_hot:
            return _multi_label_score(self.classifier.predict_proba(embeddings[rows]), truth, groups, rows, seed)
        predicted = self.classifier.predict(embeddings[rows])
        correct = (predicted == truth).astype(float)
        others = {"macro_recall": float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))}
        if _are_keys(self.labels.names):
            others["weighted_key_score"] = _weighted_key_score(truth, predicted, self.labels.names)
        return Score("accuracy", bootstrap_mean(correct, groups, seed), others, len(rows), correct=correct, rows=rows)


def fit_probe(embeddings: np.ndarray, tracks: pd.DataFrame, column: str) -> Probe:
    """Fit logistic regression on standardised embeddings of the training split.

    Its regularisation is the one that does best on the validation split; nothing looks at the test split.
    Tracks without a label, and those whose embedding is NaN, are left out.

    Args:
        embeddings: (tracks, dim) one row a track.
        tracks: table with a `split` column (train, valid, test), the label column, and perhaps `group`.
        column: the label column: one class a cell, or several separated by "|".

    Raises:
        InputError: if the column is missing, or a split has no labelled track, or the training split has
            fewer than two classes.
    """
    labels = encode_labels(tracks, column)
    rows = check_labels(tracks, labels, column, np.isfinite(embeddings).all(axis=1))
    values = labels.values.numpy()
    best = None
    for regularisation in REGULARISATIONS:
        classifier = _classifier(regularisation, labels.is_multi_hot)
        with warnings.catch_warnings():
            # Early stopping at max_iter is one more regularisation, and classes may lack a positive.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            classifier.fit(embeddings[rows["train"]], values[rows["train"]])
        quality = _quality(classifier, embeddings[rows["valid"]], values[rows["valid"]])
        if best is None or quality > best[0]:
            best = (quality, regularisation, classifier)
    assert best is not None
    return Probe(column, best[2], best[1], labels)


def check_labels(
    tracks: pd.DataFrame, labels: Labels, column: str, usable: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Row numbers of the labelled tracks of each split.

    Args:
        tracks: table with a `split` column.
        labels: of all its rows.
        column: what the user calls them, for messages.
        usable: (tracks,) bool, rows that may be used; all if None.

    Raises:
        InputError: if a split has no labelled track, or there is nothing to learn in the training split.
    """
    usable = np.ones(len(tracks), dtype=bool) if usable is None else usable
    rows = {}
    for split in ("train", "valid", "test"):
        rows[split] = np.flatnonzero((tracks["split"] == split).to_numpy() & labels.labeled.numpy() & usable)
        if len(rows[split]) == 0:
            raise InputError(f"labels: no track of the {split} split has a label in column {column!r}")
    values = labels.values.numpy()[rows["train"]]
    if labels.is_multi_hot and not _defined(values).any():
        raise InputError(f"labels: no label of column {column!r} is on some training tracks and not on others")
    if not labels.is_multi_hot and len(np.unique(values)) < 2:
        raise InputError(f"labels: the training split holds fewer than two classes of column {column!r}")
    return rows


def probe(embeddings: np.ndarray, tracks: pd.DataFrame, column: str, seed: int = 0) -> Score:
    """Fit a linear probe on the training split and score it on the test split.

    Args and errors as for `fit_probe`.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> tracks = pd.DataFrame({"split": ["train"] * 60 + ["valid"] * 20 + ["test"] * 20,
        ...                        "genre": ["jazz", "rock"] * 50})
        >>> embeddings = random.normal(size=(100, 4)) + (tracks["genre"] == "jazz").to_numpy()[:, None] * 5
        >>> probe(embeddings, tracks, "genre").headline.value
        1.0
    """
    return fit_probe(embeddings, tracks, column).score(embeddings, tracks, seed=seed)


def _classifier(regularisation: float, is_multi_hot: bool) -> Any:
    regression = LogisticRegression(C=regularisation, max_iter=200, tol=1e-3)
    return make_pipeline(StandardScaler(), OneVsRestClassifier(regression) if is_multi_hot else regression)


def _quality(classifier: Any, embeddings: np.ndarray, truth: np.ndarray) -> float:
    if truth.ndim == 1:
        return float(accuracy_score(truth, classifier.predict(embeddings)))
    return _macro(average_precision_score, truth, classifier.predict_proba(embeddings))


def _usable_rows(embeddings: np.ndarray, tracks: pd.DataFrame, labels: Labels, split: str) -> np.ndarray:
    chosen = (tracks["split"] == split).to_numpy() & labels.labeled.numpy() & np.isfinite(embeddings).all(axis=1)
    return np.flatnonzero(chosen)


def _multi_label_score(scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, rows: np.ndarray, seed: int) -> Score:
    defined = _defined(truth)
    headline = bootstrap_metric(lambda i: _macro(average_precision_score, truth[i], scores[i]), groups, seed)
    others = {"roc_auc": _macro(roc_auc_score, truth, scores)}
    return Score("average precision", headline, others, len(rows), undefined_classes=int((~defined).sum()), rows=rows)


def _macro(metric: Any, truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean of a metric over the classes for which it is defined; NaN if there are none."""
    values = [metric(truth[:, c], scores[:, c]) for c in np.flatnonzero(_defined(truth))]
    return float(np.mean(values)) if values else float("nan")


def _defined(truth: np.ndarray) -> np.ndarray:
    """Classes with at least one positive and one negative track."""
    return np.asarray((truth > 0).any(axis=0) & (truth <= 0).any(axis=0))


def _are_keys(names: tuple[str, ...]) -> bool:
    return all(name.endswith((" major", " minor")) and len(name.split()[0]) <= 2 for name in names)


def _weighted_key_score(truth: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> float:
    """Mean MIREX score: 1 same key, .5 a fifth up, .3 relative, .2 parallel."""
    from mir_eval.key import weighted_score

    pairs = zip(truth.tolist(), predicted.tolist(), strict=True)
    return float(np.mean([weighted_score(names[t], names[p]) for t, p in pairs]))
