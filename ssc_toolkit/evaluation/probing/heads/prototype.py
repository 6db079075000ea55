"""Prototype head, which scores a class by the cosine similarity to the mean embedding of its training tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.probing.heads.base import Problem
from ssc_toolkit.evaluation.retrieval.neighbors import normalize_rows


@dataclass(frozen=True)
class PrototypeHead:
    """A head that contains one prototype per class.

    Attributes:
        prototypes: (classes, dim) unit vectors. The vector of a class without a training track is zero.
        settings: always empty, because no hyperparameters are selected.
    """

    prototypes: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        similarity = normalize_rows(embeddings) @ self.prototypes.T
        return np.where(self.prototypes.any(axis=1), similarity, -1.0)  # never predict a class without a prototype


def fit_prototypes(problem: Problem, seed: int = 0) -> PrototypeHead:
    r"""Compute the prototype of each class, which is the normalized sum of the unit embeddings of its tracks.

    The sum for class c is over its training tracks i with embeddings \(z_i\). The score \(s_c\) of the class for an
    embedding z is the cosine similarity to the prototype \(p_c\):

    \[
    p_c = \sum_{i \in c} \frac{z_i}{\lVert z_i \rVert}, \qquad
    s_c(z) = \frac{z \cdot p_c}{\lVert z \rVert \, \lVert p_c \rVert}
    \]

    Prototypes are from Snell, Swersky and Zemel (Prototypical Networks, NeurIPS 2017), the cosine similarity is from
    Guinot, Quinton and Fazekas (ISMIR 2024). The validation set and the seed have no effect.

    Raises:
        InputError: if the labels are numbers.
    """
    if problem.kind == "number":
        raise InputError(f"methods: prototypes expected classes, got numbers in {', '.join(problem.names)}")
    sums = problem.targets().T.astype(np.float32) @ normalize_rows(problem.train_x)
    return PrototypeHead(normalize_rows(sums))
