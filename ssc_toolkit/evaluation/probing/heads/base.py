"""Protocol of heads (classifiers and regressors on embeddings), and the data that a head is fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.metrics.classification import find_metrics


class Head(Protocol):
    """A fitted classifier or regressor that predicts labels from embeddings.

    Attributes:
        settings: hyperparameters that were selected on the validation set or, in cross-validation, on inner folds.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predict class scores (N, classes) or numbers (N, columns) from embeddings (N, dim)."""


@dataclass(frozen=True)
class Problem:
    """Embeddings and labels of the training set and the validation set, to which a head is fitted.

    Attributes:
        train_x, valid_x: (N, dim) embeddings.
        train_y, valid_y: labels: (N,) class indices, (N, classes) multi-hot labels, or (N, columns) numbers.
        kind: "class", "multi-hot" or "number", as in `Labels`.
        names: names of the classes or columns.
        layer_widths: number of columns of each layer in the embeddings, by name. None for a single layer.
        inner: inner folds of the training set. Each one is a problem whose validation set is the fold, and whose
            training set is the rest. If there are any, hyperparameters are selected on them, and the validation set of
            this problem is empty.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    valid_x: np.ndarray
    valid_y: np.ndarray
    kind: Kind
    names: tuple[str, ...]
    layer_widths: Mapping[str, int] | None = None
    inner: tuple[Problem, ...] = ()

    def quality(self, outputs: np.ndarray) -> float:
        """Compute the headline (main) metric of outputs for the validation set, or minus infinity if it is undefined.

        `outputs` are class scores (N, classes) or numbers (N, columns), as from `Head.predict`.
        """
        return compute_quality([self], [outputs])

    def targets(self) -> np.ndarray:
        """Return the labels of the N training tracks as an array (N, classes or columns), with one-hot classes."""
        return np.eye(len(self.names), dtype=np.float32)[self.train_y] if self.kind == "class" else self.train_y


def compute_quality(problems: Sequence[Problem], outputs: Sequence[np.ndarray]) -> float:
    """Compute the headline (main) metric of outputs for the validation sets of several problems together.

    It is minus infinity if the metric is undefined. Average precision is computed within each validation set.

    Args:
        problems: problems with the same classes or columns.
        outputs: outputs for the validation set of each problem, as from `Head.predict`.
    """
    first = problems[0]
    headline = next(iter(find_metrics(first.kind, first.names).values()))
    truth = np.concatenate([problem.valid_y for problem in problems])
    folds = np.repeat(np.arange(len(problems)), [len(problem.valid_y) for problem in problems])
    value = headline.value(np.concatenate(outputs), truth, folds)
    return value if np.isfinite(value) else -np.inf


Candidate = TypeVar("Candidate")
FittedHead = TypeVar("FittedHead", bound=Head)


def select_head(
    problem: Problem, candidates: Iterable[Candidate], fit: Callable[[Problem, Candidate], FittedHead]
) -> FittedHead:
    """Fit a head with the hyperparameters that have the best score on the validation set or the inner folds.

    If there are inner folds, the predictions of all folds are scored together, and the returned head is fitted to the
    whole training set. Of several best candidates, the first one is chosen.

    Args:
        problem: embeddings and labels.
        candidates: hyperparameters to select from.
        fit: function that fits a head to the training set of a problem with given hyperparameters.

    Returns:
        The fitted head.
    """
    parts = problem.inner or (problem,)
    best: tuple[float, Candidate, FittedHead] | None = None
    for candidate in candidates:
        heads = [fit(part, candidate) for part in parts]
        outputs = [head.predict(part.valid_x) for head, part in zip(heads, parts, strict=True)]
        quality = compute_quality(parts, outputs)
        if best is None or quality > best[0]:
            best = (quality, candidate, heads[0])
    assert best is not None
    return fit(problem, best[1]) if problem.inner else best[2]
