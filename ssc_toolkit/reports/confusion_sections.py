"""Sections of reports with confusion matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssc_toolkit.evaluation.results import CLEAN, Results, list_rows
from ssc_toolkit.reports import plots
from ssc_toolkit.reports.page import Section

MAX_CLASSES = 30
"""Number of classes above which the table lists only the most frequent confusions."""
_MAX_PAIRS = 20


def confusion_sections(results: Results) -> list[Section]:
    """Return a report section with the confusion matrices of all models for each task with one class per track.

    Only the first method, the largest label fraction and clean audio are shown.

    Args:
        results: scores with their predictions.
    """
    scores = results.select(corruption=CLEAN).scores
    kept = scores[[bool(one.predictions) and one.predictions[0].kind == "class" for one in scores["score"]]]
    return [_section(str(task), own) for task, own in kept.groupby("task", sort=False)]


def _section(task: str, scores: pd.DataFrame) -> Section:
    own = scores[(scores["method"] == scores["method"].iloc[0])]
    own = own[own["label_fraction"] == own["label_fraction"].max()]
    matrices = {str(row["model"]): row["score"].confusion() for row in list_rows(own)}
    classes = list(next(iter(matrices.values())).index)
    text = (
        "Rows are true classes, and columns are predicted classes. The table contains numbers of tracks, as means over "
        f"the seeds, and the figure fractions of each true class. Probe: {own['method'].iloc[0]}."
    )
    figure = plots.plot_confusions({name: matrix.to_numpy() for name, matrix in matrices.items()}, classes)
    header, rows = ["model", "true class", *classes], _matrix_rows(matrices)
    if len(classes) > MAX_CLASSES:
        text = f"The {_MAX_PAIRS} most frequent confusions of each model. Probe: {own['method'].iloc[0]}."
        header, rows = ["model", "true class", "predicted class", "tracks"], _frequent_rows(matrices)
    figures = {"Fraction of the tracks of each true class (rows) by predicted class (columns).": figure}
    return Section(f"Confusion matrix: {task}", [text], header, rows, figures)


def _matrix_rows(matrices: dict[str, pd.DataFrame]) -> list[list[str]]:
    return [
        [model, str(true), *(f"{count:g}" for count in matrix.loc[true].round(1))]
        for model, matrix in matrices.items()
        for true in matrix.index
    ]


def _frequent_rows(matrices: dict[str, pd.DataFrame]) -> list[list[str]]:
    rows = []
    for model, matrix in matrices.items():
        wrong = matrix.to_numpy() * (1 - np.eye(len(matrix)))
        for place in np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]:
            true, predicted = np.unravel_index(place, wrong.shape)
            if wrong[true, predicted] > 0:
                names = matrix.index[true], matrix.columns[predicted]
                rows.append([model, *map(str, names), f"{wrong[true, predicted]:.3g}"])
    return rows
