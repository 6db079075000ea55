"""k-nearest-neighbors head, which averages the labels of the nearest training tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from ssc_toolkit.evaluation.probing.heads.base import Problem

COUNTS = (1, 3, 5, 10, 20, 50)
"""Numbers of neighbors k from which the best one on the validation set is selected."""


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


def fit_knn(problem: Problem, seed: int = 0) -> NeighborHead:
    """Fit a head that averages the labels of the k training tracks with the highest cosine similarity.

    The number k, and whether the embeddings are standardized first, are selected on the validation set. No weights are
    trained, so the seed has no effect.
    """
    best: tuple[float, NeighborHead] | None = None
    for standardized in (False, True):
        for count in sorted({min(count, len(problem.train_x)) for count in COUNTS}):
            model = make_pipeline(
                StandardScaler() if standardized else FunctionTransformer(),
                Normalizer(),  # for unit vectors, the Euclidean distance and the cosine give the same order
                KNeighborsRegressor(count, algorithm="brute"),
            )
            model.fit(problem.train_x, problem.targets())
            head = NeighborHead(model, {"neighbors": count, "standardized": standardized})
            quality = problem.quality(head.predict(problem.valid_x))
            if best is None or quality > best[0]:
                best = (quality, head)
    assert best is not None
    return best[1]
