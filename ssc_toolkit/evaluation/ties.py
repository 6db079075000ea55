"""Rankings in which items are equally similar: what they are worth on average over all orders of those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def expected_over_ties(
    similarity: np.ndarray, relevant: np.ndarray, cutoffs: Sequence[int]
) -> tuple[float, list[float], list[float]]:
    r"""Average precision, recall@k and precision@k of a ranking, each its mean over all orders of tied items.

    In a tie of n items, r of them relevant, after t others, R of them relevant, the item at place j is relevant with
    probability \(r / n\), and then \(R + 1 + (j - 1) (r - 1) / (n - 1)\) relevant items are expected up to it; with m
    places above a cutoff, none of the r is found there with probability \(\binom{n - r}{m} / \binom{n}{m}\) (McSherry
    and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores, ECIR
    2008).

    Args:
        similarity: (N,) of the items, in falling order.
        relevant: (N,) bool, at least one of them True.
        cutoffs: each k, from 1 on.

    Returns:
        The average precision, and recall@k (whether a relevant item is among the first k) and precision@k by cutoff.

    Examples:
        >>> expected_over_ties(np.array([0.9, 0.9, 0.1]), np.array([True, False, False]), [1])
        (0.75, [0.5], [0.5])
    """
    count = len(similarity)
    starts = np.flatnonzero(np.append(True, similarity[1:] != similarity[:-1]))
    sizes = np.diff(starts, append=count)
    hits = np.add.reduceat(relevant.astype(np.int64), starts)
    before = hits.cumsum() - hits
    tie = np.repeat(np.arange(len(starts)), sizes)
    ranks = np.arange(1, count + 1)
    above = (ranks - 1 - starts[tie]) * (hits - 1)[tie] / np.maximum(sizes - 1, 1)[tie]
    average = float((hits[tie] / sizes[tie] * (before[tie] + 1 + above) / ranks).sum() / hits.sum())
    recalls, precisions = [], []
    for k in cutoffs:
        last = tie[min(k, count) - 1]
        size, own, places = int(sizes[last]), int(hits[last]), min(k, count) - int(starts[last])
        drawn = np.arange(places)
        missed = 0.0 if before[last] else float(np.prod((size - own - drawn).clip(min=0) / (size - drawn)))
        recalls.append(1.0 - missed)
        precisions.append(float(before[last] + own * places / size) / k)
    return average, recalls, precisions
