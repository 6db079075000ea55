"""Sections of a report that describe training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssc_toolkit.evaluation.retrieval.neighbors import normalize_rows
from ssc_toolkit.reports import plots
from ssc_toolkit.reports.page import Section


def similarity_section(weights: np.ndarray, embeddings: Mapping[str, np.ndarray], text: str) -> Section:
    """Return a report section with the target weights of a batch and the cosine similarities of its embeddings.

    The embeddings are centered first.

    Args:
        weights: target weights of all pairs of N embeddings, (N, N).
        embeddings: (N, dim) embeddings by model.
        text: paragraph that describes the rows of the matrices.
    """
    blocks = {"target weights": weights}
    for model, vectors in embeddings.items():
        unit = normalize_rows(vectors - vectors.mean(axis=0))
        blocks[model] = unit @ unit.T
    caption = "Target weights, and cosine similarities of the centered representations."
    return Section("Target weights and similarities", [text], figures={caption: plots.plot_matrices(blocks)})


def learning_section(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], measures: Mapping[str, str], models: Sequence[str]
) -> Section:
    """Return a report section with loss and other measures over the training steps.

    Args:
        histories: rows with the values of each logged step, for each model.
        measures: axis label of each plotted column.
        models: names of all models of the report, which determine their colors.
    """
    text = (
        "The losses have different positives, so compare the shapes of the curves, not their values. The validation "
        "loss and the agreement of the labels of nearest neighbors are measured on segments of the validation set."
    )
    curves = plots.plot_learning_curves(histories, measures, plots.choose_model_colors(models))
    return Section("Training", [text], figures={"Training curves by step.": curves})
