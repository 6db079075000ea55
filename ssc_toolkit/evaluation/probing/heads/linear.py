"""Linear head, which is logistic regression for classes and ridge regression for numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.probing.heads.base import Problem, select_head

INVERSE_STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse regularization strengths of logistic regression, from which the best one is selected."""
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Penalties of ridge regression, from which the best one is selected."""


@dataclass(frozen=True)
class LinearHead:
    """A fitted head: a scikit-learn pipeline of standardization and logistic or ridge regression.

    Attributes:
        model: the pipeline.
        regularization: inverse regularization strength of logistic regression, or penalty of ridge regression. It was
            selected by `select_head`.
        outputs: number of classes or columns.
    """

    model: Any
    regularization: float
    outputs: int

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"regularization": self.regularization}

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        if not hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict(embeddings)).reshape(len(embeddings), self.outputs)
        found = self.model.predict_proba(embeddings)
        if found.shape[1] == self.outputs:
            return np.asarray(found)
        everything = np.zeros((len(embeddings), self.outputs), dtype=found.dtype)
        everything[:, self.model.classes_] = found  # classes without a training track have probability 0
        return everything


def fit_linear(problem: Problem, seed: int = 0) -> LinearHead:
    """Fit logistic regression for classes (one-vs-rest for multi-hot labels), or ridge regression for numbers.

    Embeddings are standardized by the mean and standard deviation of the training set. The regularization is selected
    by `select_head`. The problem is convex, so the seed has no effect.
    """
    return select_head(problem, PENALTIES if problem.kind == "number" else INVERSE_STRENGTHS, _fit)


def _fit(problem: Problem, regularization: float) -> LinearHead:
    model = make_pipeline(StandardScaler(), _regression(problem.kind, regularization))
    with warnings.catch_warnings():
        # Both warnings are harmless: stopping at max_iter regularizes, and a class may have no positive track.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        model.fit(problem.train_x, problem.train_y)
    return LinearHead(model, regularization, len(problem.names))


def _regression(kind: Kind, regularization: float) -> Any:
    if kind == "number":
        return Ridge(regularization)
    regression = LogisticRegression(C=regularization, max_iter=200, tol=1e-3)
    return OneVsRestClassifier(regression) if kind == "multi-hot" else regression
