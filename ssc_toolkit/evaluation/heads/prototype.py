"""Zero-shot classes: the cosine to the mean of their labelled tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.heads.base import Problem
from ssc_toolkit.evaluation.neighbors import unit_rows


@dataclass(frozen=True)
class PrototypeHead:
    """Prototypes of the classes.

    Attributes:
        prototypes: (classes, dim), of length 1; zeros for a class without a training track.
        settings: none, for nothing is chosen.
    """

    prototypes: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        similarity = unit_rows(embeddings) @ self.prototypes.T
        return np.where(self.prototypes.any(axis=1), similarity, -1.0)  # an unknown class is no one's nearest


def fit_prototypes(problem: Problem, seed: int = 0) -> PrototypeHead:
    r"""The mean embedding of each class's training tracks; a track's score of a class is the cosine to it.

    \[
    p_c = \sum_{i \in c} \frac{z_i}{\lVert z_i \rVert}, \qquad
    s_c(z) = \frac{z \cdot p_c}{\lVert z \rVert \, \lVert p_c \rVert}
    \]

    (Snell, Swersky and Zemel, Prototypical Networks, NeurIPS 2017, with the cosine as in Guinot, Quinton and Fazekas,
    ISMIR 2024.) Nothing is trained or chosen: neither the validation split nor the seed matters.

    Raises:
        InputError: for numbers, which have no classes.
    """
    if problem.kind == "number":
        raise InputError(f"methods: prototypes need classes, but {', '.join(problem.names)} holds numbers")
    sums = problem.targets().T.astype(np.float32) @ unit_rows(problem.train_x)
    return PrototypeHead(unit_rows(sums))
