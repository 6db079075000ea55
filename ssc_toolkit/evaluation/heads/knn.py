"""Votes of the nearest labelled tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from ssc_toolkit.evaluation.heads.base import Problem

COUNTS = (1, 3, 5, 10, 20, 50)
"""Numbers of neighbours among which the validation split chooses."""


@dataclass(frozen=True)
class NeighborHead:
    """Fitted neighbours.

    Attributes:
        model: scikit-learn pipeline of scaling and neighbours.
        settings: number of neighbours, and whether embeddings are standardised first.
    """

    model: Any
    settings: Mapping[str, Any]

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict(embeddings))


def fit_knn(problem: Problem, seed: int = 0) -> NeighborHead:
    """The mean of the labels of the k nearest training tracks by cosine; nothing is trained.

    k, and whether the embeddings are standardised first, are what does best on the validation split. The seed changes
    nothing.
    """
    best: tuple[float, NeighborHead] | None = None
    for standardised in (False, True):
        for count in sorted({min(count, len(problem.train_x)) for count in COUNTS}):
            model = make_pipeline(
                StandardScaler() if standardised else FunctionTransformer(),
                Normalizer(),  # on the unit sphere, the order by distance is that by cosine
                KNeighborsRegressor(count, algorithm="brute"),
            )
            model.fit(problem.train_x, problem.targets())
            head = NeighborHead(model, {"neighbors": count, "standardised": standardised})
            quality = problem.quality(head.predict(problem.valid_x))
            if best is None or quality > best[0]:
                best = (quality, head)
    assert best is not None
    return best[1]
