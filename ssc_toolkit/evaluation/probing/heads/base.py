"""Protocol of heads (classifiers and regressors on embeddings), and the data that a head is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.metrics.classification import find_metrics


class Head(Protocol):
    """A fitted classifier or regressor that predicts labels from embeddings.

    Attributes:
        settings: hyperparameters that were selected on the validation set.
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
    """

    train_x: np.ndarray
    train_y: np.ndarray
    valid_x: np.ndarray
    valid_y: np.ndarray
    kind: Kind
    names: tuple[str, ...]
    layer_widths: Mapping[str, int] | None = None

    def quality(self, outputs: np.ndarray) -> float:
        """Compute the headline (main) metric of outputs for the validation set, or minus infinity if it is undefined.

        `outputs` are class scores (N, classes) or numbers (N, columns), as from `Head.predict`.
        """
        headline = next(iter(find_metrics(self.kind, self.names).values()))
        value = headline.value(outputs, self.valid_y)
        return value if np.isfinite(value) else -np.inf

    def targets(self) -> np.ndarray:
        """Return the labels of the N training tracks as an array (N, classes or columns), with one-hot classes."""
        return np.eye(len(self.names), dtype=np.float32)[self.train_y] if self.kind == "class" else self.train_y
