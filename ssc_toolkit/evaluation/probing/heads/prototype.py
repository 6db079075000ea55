"""A head that scores classes by the cosine similarity to the mean of their labeled tracks."""

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
    """Prototypes of the classes.

    Attributes:
        prototypes: (classes, dim) unit vectors; zeros for a class without a training track.
        settings: always empty, because there are no settings to select.
    """

    prototypes: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        similarity = normalize_rows(embeddings) @ self.prototypes.T
        return np.where(self.prototypes.any(axis=1), similarity, -1.0)  # never predict a class without a prototype


def fit_prototypes(problem: Problem, seed: int = 0) -> PrototypeHead:
    r"""Compute the prototype of each class: the mean of the unit embeddings of its training tracks.

    The score \(s_c\) of class c for embedding z is the cosine similarity to the prototype \(p_c\):

    \[
    p_c = \sum_{i \in c} \frac{z_i}{\lVert z_i \rVert}, \qquad
    s_c(z) = \frac{z \cdot p_c}{\lVert z \rVert \, \lVert p_c \rVert}
    \]

    (Snell, Swersky and Zemel, Prototypical Networks, NeurIPS 2017, with the cosine as in Guinot, Quinton and Fazekas,
    ISMIR 2024.) Nothing is trained or selected, so the validation set and the seed have no effect.

    Raises:
        InputError: if the labels are numbers, which have no classes.
    """
    if problem.kind == "number":
        raise InputError(f"methods: prototypes expected classes, got numbers in {', '.join(problem.names)}")
    sums = problem.targets().T.astype(np.float32) @ normalize_rows(problem.train_x)
    return PrototypeHead(normalize_rows(sums))
