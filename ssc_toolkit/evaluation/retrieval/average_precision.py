"""Ranking metrics averaged over all orders of items that are equally similar to the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def average_over_ties(
    similarity: np.ndarray, relevant: np.ndarray, cutoffs: Sequence[int]
) -> tuple[float, list[float], list[float]]:
    r"""Compute average precision, hit rate@k and precision@k of N ranked items, averaged over all orders of tied items.

    Items with equal similarity are tied. Let a tie have n items, r of which are relevant, and let R relevant items have
    a higher similarity. The item at position j of the tie is relevant with probability \(r / n\). If it is relevant,
    the expected number of relevant items up to and including it is \(R + 1 + (j - 1) (r - 1) / (n - 1)\). If the
    first k ranks include m positions of the tie, all m items are irrelevant with probability
    \(\binom{n - r}{m} / \binom{n}{m}\) (McSherry and Najork, Computing Information Retrieval Performance Measures
    Efficiently in the Presence of Tied Scores, ECIR 2008).

    Args:
        similarity: (N,) similarities of the items, in descending order.
        relevant: (N,) bool, True for relevant items. At least one item must be relevant.
        cutoffs: values of k, each at least 1.

    Returns:
        The average precision, a list of hit rate@k (probability that a relevant item is among the first k), and a list
        of precision@k.

    Examples:
        >>> average_over_ties(np.array([0.9, 0.9, 0.1]), np.array([True, False, False]), [1])
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
    hit_rates, precisions = [], []
    for k in cutoffs:
        last = tie[min(k, count) - 1]
        size, own, places = int(sizes[last]), int(hits[last]), min(k, count) - int(starts[last])
        drawn = np.arange(places)
        missed = 0.0 if before[last] else float(np.prod((size - own - drawn).clip(min=0) / (size - drawn)))
        hit_rates.append(1.0 - missed)
        precisions.append(float(before[last] + own * places / size) / k)
    return average, hit_rates, precisions
