"""Nearest neighbors of embeddings, and the agreement of their labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ssc_toolkit.checks import check_embeddings
from ssc_toolkit.data import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.losses.unit_length import unit_length

BLOCK = 1 << 25
"""Maximum number of similarities that are held in memory at once."""


def normalize_rows(vectors: np.ndarray) -> np.ndarray:
    """Divide each row of `vectors` (N, dim) by its Euclidean norm. Rows of zeros stay zero. The result is float32."""
    vectors = np.asarray(vectors)
    rows = vectors.astype(np.float64 if vectors.dtype == np.float64 else np.float32)
    return unit_length(torch.from_numpy(rows)).float().numpy()


def similarity_blocks(
    queries: np.ndarray, database: np.ndarray, block: int = BLOCK
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Compute the cosine similarities between queries and all items of a database in blocks of queries.

    Args:
        queries: (Q, dim) embeddings of Q queries.
        database: (N, dim) embeddings of the N items of the database.
        block: maximum number of similarities per block.

    Yields:
        The slice of the queries in the block, and their cosine similarities (queries in the block, N).
    """
    first, second = torch.from_numpy(normalize_rows(queries)), torch.from_numpy(normalize_rows(database))
    size = max(1, block // max(1, len(second)))
    for start in range(0, len(first), size):
        rows = slice(start, min(start + size, len(first)))
        yield rows, first[rows] @ second.T


def find_nearest(embeddings: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest neighbors of each item among the other items by cosine similarity.

    Args:
        embeddings: (N, dim) embeddings of the items.
        count: number of neighbors, 1 to N - 1.

    Returns:
        (N, count) row numbers of the neighbors, nearest first.

    Examples:
        >>> find_nearest(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), 1)[:, 0].tolist()
        [1, 0, 3, 1]
    """
    found = []
    for rows, similarity in similarity_blocks(embeddings, embeddings):
        own = torch.arange(rows.start, rows.stop)
        similarity[torch.arange(len(own)), own] = -torch.inf
        found.append(similarity.topk(count, dim=1).indices)
    return torch.cat(found).numpy()


def neighbor_agreement(embeddings: np.ndarray, labels: Labels) -> float:
    """Compute the fraction of labeled items whose nearest labeled neighbor (by cosine similarity) has the same label.

    With multi-hot labels, two items have the same label if they have at least one label in common.

    Args:
        embeddings: (N, dim) embeddings of the items.
        labels: labels of the N items.

    Returns:
        The fraction, from 0 to 1. NaN if fewer than two items are labeled.

    Raises:
        InputError: if the numbers of embeddings and labels differ, or if the labels are real numbers.

    Examples:
        >>> import torch
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> neighbor_agreement(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels)
        0.75
    """
    if labels.kind == "number":
        raise InputError("labels: expected classes, got real numbers, which have no same label")
    embeddings = check_embeddings(embeddings, len(labels.labeled))
    known = labels.labeled.numpy() & np.isfinite(embeddings).all(axis=1)
    if known.sum() < 2:
        return float("nan")
    found = find_nearest(embeddings[known], 1)[:, 0]
    values = labels.values.numpy()[known]
    agrees = (values * values[found]).any(axis=1) if labels.is_multi_hot else values == values[found]
    return float(agrees.mean())
