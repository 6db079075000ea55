"""Probes that are cross-validated: each track is predicted by a probe that was not fitted to its group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ssc_toolkit.checks import check_embeddings
from ssc_toolkit.data import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.scores import Predictions
from ssc_toolkit.evaluation.probing.folds import Folds
from ssc_toolkit.evaluation.probing.heads import HEADS, Head, Problem
from ssc_toolkit.evaluation.probing.heads.knn import NeighborHead, RefittedNeighborHead
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows
from ssc_toolkit.progress import progress_bar

_SILENT_SECONDS = 2.0  # before a progress bar is shown


@dataclass(frozen=True)
class CrossValidatedProbe:
    """One fitted head for each fold.

    Attributes:
        column: name of the label column.
        heads: heads by fold. Each one was fitted to the tracks outside of its fold.
        folds: folds of the labeled tracks.
        labels: labels of all tracks of the table.
    """

    column: str
    heads: tuple[Head, ...]
    folds: Folds
    labels: Labels

    def predict(self, embeddings: np.ndarray, subset: np.ndarray | None = None) -> Predictions:
        """Predict the label of each track by the head that was not fitted to its fold.

        Args:
            embeddings: (tracks, dim) embeddings, one row per track of the table.
            subset: (tracks,) bool. Only tracks where `subset` is True are predicted. None predicts all.

        Returns:
            Predictions and true labels of the labeled tracks with a finite embedding, sorted by name.

        Raises:
            InputError: if no track has a label and a finite embedding.
        """
        embeddings = check_embeddings(embeddings, len(self.labels.labeled), of="tracks")
        usable = np.isfinite(embeddings).all(axis=1) & (True if subset is None else subset)
        chosen = usable[self.folds.rows]
        rows, fold = self.folds.rows[chosen], self.folds.fold[chosen]
        if not len(rows):
            raise InputError(f"labels: expected tracks with a label in column {self.column!r}, got none")
        outputs = np.zeros((len(rows), len(self.labels.names)))
        for number, head in enumerate(self.heads):
            own = fold == number
            if own.any():
                outputs[own] = head.predict(embeddings[rows[own]])
        labels, groups = self.labels, self.folds.groups[chosen]
        return Predictions(outputs, labels.values.numpy()[rows], rows, groups, labels.kind, labels.names, fold)


def fit_folds(
    embeddings: np.ndarray,
    labels: Labels,
    column: str,
    folds: Folds,
    method: str = "linear",
    label_fraction: float = 1.0,
    seed: int = 0,
    layer_widths: Mapping[str, int] | None = None,
    *,
    progress: bool = False,
) -> CrossValidatedProbe:
    """Fit a head for each fold to the tracks outside of the fold.

    Hyperparameters are selected on inner folds of these tracks, which keep the tracks of a group together too, and the
    head is then fitted to all of them (nested cross-validation; Varma and Simon, Bias in Error Estimation When Using
    Cross-Validation for Model Selection, 2006).

    Args:
        embeddings: (tracks, dim) embeddings, one row per track of the table.
        labels: labels of all tracks.
        column: name of the label column for error messages.
        folds: folds of the labeled tracks.
        method: as for `fit_probe`.
        label_fraction: fraction of the labels of the tracks outside of a fold to use, as for `fit_probe`.
        seed: seed of the weights, of the inner folds and of the selection of labeled tracks.
        layer_widths: as for `fit_probe`.
        progress: whether to show a progress bar of the folds if they take more than two seconds.

    Returns:
        The fitted heads.

    Raises:
        InputError: if the method is unknown, or if no hyperparameters can be selected.
    """
    if method not in HEADS:
        raise InputError(f"method: expected one of {', '.join(HEADS)}, got {method!r}")
    embeddings = check_embeddings(embeddings, len(labels.labeled), of="tracks")
    usable, values = np.isfinite(embeddings).all(axis=1), labels.values.numpy()

    def rows_of(fold: int) -> np.ndarray:
        return choose_training_rows(folds.training_rows(fold, usable), labels, label_fraction, seed)

    def training_set(fold: int) -> Problem:
        train = rows_of(fold)
        none = train[:0]
        return Problem(
            embeddings[train], values[train], embeddings[none], values[none], labels.kind, labels.names, layer_widths
        )

    heads: list[Head] = []
    for fold in progress_bar(
        range(folds.count), desc=f"{column}, {method}", unit="fold", delay=_SILENT_SECONDS, disable=not progress
    ):
        train, whole = rows_of(fold), training_set(fold)
        inner = tuple(
            replace(
                whole, train_x=embeddings[one], train_y=values[one], valid_x=embeddings[other], valid_y=values[other]
            )
            for one, other in folds.inner(train, values, seed)
        )
        head = HEADS[method](replace(whole, inner=inner), seed)
        if isinstance(head, NeighborHead):  # it contains its training set, which would be in memory once per fold
            head = RefittedNeighborHead(partial(training_set, fold), head.settings)
        heads.append(head)
    return CrossValidatedProbe(column, tuple(heads), folds, labels)
