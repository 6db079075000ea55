"""k-nearest-neighbors head, which averages the labels of the nearest training tracks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from ssc_toolkit.evaluation.probing.heads.base import Problem, select_head

COUNTS = (1, 3, 5, 10, 20, 50)
"""Numbers of neighbors k from which the best one is selected."""


@dataclass(frozen=True)
class NeighborHead:
    """A fitted k-nearest-neighbors head.

    Attributes:
        model: scikit-learn pipeline that normalizes embeddings and averages the labels of neighbors.
        settings: `neighbors`, the number of neighbors, and `standardized`, whether embeddings are standardized first.
    """

    model: Any
    settings: Mapping[str, Any]

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict(embeddings))


@dataclass(frozen=True)
class RefittedNeighborHead:
    """A k-nearest-neighbors head that reads its training set for each prediction, and keeps no copy of it.

    Attributes:
        training_set: function that returns the training set.
        settings: as for `NeighborHead`.
    """

    training_set: Callable[[], Problem]
    settings: Mapping[str, Any]

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        candidate = self.settings["standardized"], self.settings["neighbors"]
        return _fit(self.training_set(), candidate).predict(embeddings)


def fit_knn(problem: Problem, seed: int = 0) -> NeighborHead:
    """Fit a head that averages the labels of the k training tracks with the highest cosine similarity.

    The number k, and whether the embeddings are standardized first, are selected by `select_head`. No weights are
    trained, so the seed has no effect.
    """
    counts = sorted({min(count, len(problem.train_x)) for count in COUNTS})
    return select_head(problem, list(itertools.product((False, True), counts)), _fit)


def _fit(problem: Problem, candidate: tuple[bool, int]) -> NeighborHead:
    standardized, count = candidate[0], min(candidate[1], len(problem.train_x))
    model = make_pipeline(
        StandardScaler() if standardized else FunctionTransformer(),
        Normalizer(),  # for unit vectors, the Euclidean distance and the cosine give the same order
        KNeighborsRegressor(count, algorithm="brute"),
    )
    model.fit(problem.train_x, problem.targets())
    return NeighborHead(model, {"neighbors": count, "standardized": standardized})
