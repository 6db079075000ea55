"""What an embedding's nearest neighbours have in common with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ssc_toolkit.checks import check_embeddings
from ssc_toolkit.data import Labels

BLOCK = 1 << 25
"""Similarities that are held at once."""


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths, (N, dim) float32; zeros stay zeros."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def similarity_blocks(
    queries: np.ndarray, database: np.ndarray, block: int = BLOCK
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Cosines of queries with everything in a database, some queries at a time.

    Args:
        queries: (Q, dim).
        database: (N, dim).
        block: similarities at once.

    Yields:
        Which queries, and their (q, N) cosines.
    """
    first, second = torch.from_numpy(unit_rows(queries)), torch.from_numpy(unit_rows(database))
    size = max(1, block // max(1, len(second)))
    for start in range(0, len(first), size):
        rows = slice(start, min(start + size, len(first)))
        yield rows, first[rows] @ second.T


def nearest(embeddings: np.ndarray, count: int) -> np.ndarray:
    """The nearest neighbours of each item among the others by cosine, nearest first.

    Args:
        embeddings: (N, dim).
        count: of neighbours, 1 to N - 1.

    Returns:
        (N, count) row numbers.

    Examples:
        >>> nearest(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), 1)[:, 0].tolist()
        [1, 0, 3, 1]
    """
    found = []
    for rows, similarity in similarity_blocks(embeddings, embeddings):
        own = torch.arange(rows.start, rows.stop)
        similarity[torch.arange(len(own)), own] = -torch.inf
        found.append(similarity.topk(count, dim=1).indices)
    return torch.cat(found).numpy()


def neighbor_agreement(embeddings: np.ndarray, labels: Labels) -> float:
    """Share of labelled items whose nearest labelled neighbour (cosine) has the same label.

    Multi-label items agree if they share a label. NaN if fewer than two items are labelled.

    Args:
        embeddings: (N, dim).
        labels: of the same N items.

    Raises:
        InputError: if there are not as many of both.

    Examples:
        >>> import torch
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> neighbor_agreement(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels)
        0.75
    """
    embeddings = check_embeddings(embeddings, len(labels.labeled))
    known = labels.labeled.numpy() & np.isfinite(embeddings).all(axis=1)
    if known.sum() < 2:
        return float("nan")
    found = nearest(embeddings[known], 1)[:, 0]
    values = labels.values.numpy()[known]
    agrees = (values * values[found]).any(axis=1) if labels.is_multi_hot else values == values[found]
    return float(agrees.mean())
