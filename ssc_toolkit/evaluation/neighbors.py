"""What an embedding's nearest neighbours have in common with it."""

from __future__ import annotations

import numpy as np

from ssc_toolkit.data import Labels


def neighbor_agreement(embeddings: np.ndarray, labels: Labels) -> float:
    """Share of labelled items whose nearest labelled neighbour (cosine) has the same label.

    Multi-label items agree if they share a label. NaN if fewer than two items are labelled.

    Args:
        embeddings: (N, dim).
        labels: of the same N items.

    Examples:
        >>> import torch
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> neighbor_agreement(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels)
        0.75
    """
    known = labels.labeled.numpy() & np.isfinite(embeddings).all(axis=1)
    if known.sum() < 2:
        return float("nan")
    unit = embeddings[known]
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = similarity.argmax(axis=1)
    values = labels.values.numpy()[known]
    agrees = (values * values[nearest]).any(axis=1) if labels.is_multi_hot else values == values[nearest]
    return float(agrees.mean())
