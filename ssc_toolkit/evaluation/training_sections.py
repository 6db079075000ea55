"""The sections of a report that tell of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssc_toolkit.evaluation import plots
from ssc_toolkit.evaluation.neighbors import unit_rows
from ssc_toolkit.evaluation.report import Section


def similarity_section(weights: np.ndarray, embeddings: Mapping[str, np.ndarray], text: str) -> Section:
    """Target weights of a batch beside the cosine similarities of its centred embeddings under each model.

    Args:
        weights: (N, N) target weights.
        embeddings: (N, dim) by model.
        text: what the rows are.
    """
    blocks = {"target weights": weights}
    for model, vectors in embeddings.items():
        unit = unit_rows(vectors - vectors.mean(axis=0))
        blocks[model] = unit @ unit.T
    caption = "Target weights, and cosine similarities of the representations after centring."
    return Section("What the loss asks for, and what it got", [text], figures={caption: plots.matrices(blocks)})


def learning_section(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], measures: Mapping[str, str], models: Sequence[str]
) -> Section:
    """Training curves; the losses of different supervision are not on one scale.

    Args:
        histories: a row a step, by model.
        measures: column of the rows to axis label.
        models: all models of the report, for their colours.
    """
    text = (
        "The losses have different positives, so compare their course and not their level. Nearest-neighbour "
        "agreement is measured on clean validation clips."
    )
    curves = plots.learning_curves(histories, measures, plots.model_colors(models))
    return Section("Training", [text], figures={"Over the steps of training.": curves})
