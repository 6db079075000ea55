"""Retrieval: whether what is nearest has the same labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.data import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean, distinct
from ssc_toolkit.evaluation.neighbors import similarity_blocks
from ssc_toolkit.evaluation.scores import Score

CUTOFFS = (1, 5, 10)

_BLOCK = 1 << 23  # similarities at once: sorting takes several times their memory


def retrieval(
    embeddings: np.ndarray,
    labels: Labels,
    *,
    groups: np.ndarray | None = None,
    database: np.ndarray | None = None,
    database_labels: Labels | None = None,
    database_groups: np.ndarray | None = None,
    other_groups_only: bool = False,
    cutoffs: Sequence[int] = CUTOFFS,
    seed: int = 0,
) -> Score:
    r"""Rank a database by cosine for each query, and see where the items with the same label are.

    An item is relevant if it has the query's class, or shares a label with it. A query is never its own answer. With
    \(r_j \in \{0, 1\}\) the relevance of rank j, and R relevant items:

    \[
    \mathrm{AP} = \frac{1}{R} \sum_j r_j \frac{\sum_{i \le j} r_i}{j}, \qquad
    \mathrm{precision@}k = \frac{1}{k} \sum_{j \le k} r_j, \qquad
    \mathrm{recall@}k = \max_{j \le k} r_j
    \]

    mAP is the mean of AP over the queries (Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008,
    section 8.4); recall@k, as in metric learning, is the share of queries with a relevant item among the first k
    (Jégou, Douze and Schmid, TPAMI 2011). Queries without any relevant item have no AP and are left out; their number
    is `undefined_queries` among the further numbers.

    Args:
        embeddings: (Q, dim) of the queries.
        labels: of the queries, class or multi-hot, of any kind that the model was never trained on, too.
        groups: (Q,) group of each query, such as its tune or artist; for the intervals, and for `other_groups_only`.
        database: (N, dim) what is ranked; the queries themselves if None.
        database_labels: of the database; classes are matched by their names.
        database_groups: (N,) group of each item of the database.
        other_groups_only: leave items of the query's own group out of its ranking, since versions of a tune or
            tracks of an artist are found by what they share beside the label.
        cutoffs: each k.
        seed: of the bootstrap over the queries' groups.

    Returns:
        A score with the headline metric "mAP", and recall@k and precision@k for each cutoff.

    Raises:
        InputError: for numbers as labels, groups that are missing, or if no query has a relevant item.

    Examples:
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> score = retrieval(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels, cutoffs=(1,))
        >>> round(score.headline.value, 3), score.others["recall@1"]
        (0.833, 0.75)
    """
    own = database is None
    if (database is None) != (database_labels is None):
        raise InputError("database: embeddings and labels of the database belong together; give both or none")
    if other_groups_only and (groups is None or (not own and database_groups is None)):
        raise InputError("groups: to leave out a query's own group, the groups of queries and database are needed")
    items = embeddings if database is None else database
    item_labels = labels if database_labels is None else database_labels
    item_groups = groups if own else database_groups
    first, second = _hot(labels, labels.names), _hot(item_labels, labels.names)
    queries = np.flatnonzero(labels.labeled.numpy() & np.isfinite(embeddings).all(axis=1))
    known = np.flatnonzero(item_labels.labeled.numpy() & np.isfinite(items).all(axis=1))
    codes = _codes(groups, item_groups) if other_groups_only else None
    precisions, hits = [], []
    for block, similarity in similarity_blocks(embeddings[queries], items[known], _BLOCK):
        asked = queries[block]
        relevant = (first[asked] @ second[known].T) > 0
        excluded = torch.from_numpy(asked[:, None] == known) if own else torch.zeros_like(relevant)
        if codes is not None:
            excluded |= torch.from_numpy(codes[0][asked][:, None] == codes[1][known])
        average, early = _ranked(similarity, relevant, excluded, cutoffs)
        precisions.append(average)
        hits.append(early)
    if not precisions or torch.cat(precisions).isnan().all():
        raise InputError("labels: no query has a relevant item in the database")
    return _score(torch.cat(precisions), torch.cat(hits), queries, groups, cutoffs, seed)


def _ranked(similarity: Tensor, relevant: Tensor, excluded: Tensor, cutoffs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(q,) average precision, NaN without a relevant item, and (q, cutoffs) relevant items among the first k."""
    relevant = relevant & ~excluded
    order = similarity.masked_fill(excluded, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranked = relevant.gather(1, order)
    found = ranked.cumsum(dim=1)
    ranks = torch.arange(1, ranked.shape[1] + 1)
    totals = found[:, -1]
    average = (found.double() / ranks * ranked).sum(dim=1) / totals  # 0 / 0 is NaN
    early = torch.stack([found[:, min(k, found.shape[1]) - 1] for k in cutoffs], dim=1)
    return average, early


def _score(
    average: Tensor, early: Tensor, queries: np.ndarray, groups: np.ndarray | None, cutoffs: Sequence[int], seed: int
) -> Score:
    defined = ~average.isnan().numpy()
    rows = queries[defined]
    of_queries = rows if groups is None else distinct(np.asarray(groups))[rows]
    intervals: dict[str, Interval] = {}
    for place, k in enumerate(cutoffs):
        hits = early[:, place].numpy()[defined]
        intervals[f"recall@{k}"] = bootstrap_mean((hits > 0).astype(float), of_queries, seed)
        intervals[f"precision@{k}"] = bootstrap_mean(hits / k, of_queries, seed)
    headline = bootstrap_mean(average.numpy()[defined], of_queries, seed)
    others = {name: interval.value for name, interval in intervals.items()}
    others["undefined_queries"] = float((~defined).sum())
    return Score("mAP", headline, others, len(rows), intervals=intervals, rows=rows)


def _hot(labels: Labels, names: Sequence[str]) -> Tensor:
    """(N, classes) labels as multi-hot rows in the order of `names`; other classes are nobody's."""
    if labels.kind == "number":
        raise InputError("labels: retrieval needs classes, not numbers")
    hot = labels.values if labels.is_multi_hot else torch.nn.functional.one_hot(labels.values, len(labels.names))
    place = {name: number for number, name in enumerate(labels.names)}
    columns = [hot[:, place[name]] if name in place else torch.zeros(len(hot)) for name in names]
    return torch.stack([column.float() for column in columns], dim=1)


def _codes(groups: np.ndarray | None, item_groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The groups of queries and items as numbers that can be compared; an unknown group is like no other."""
    first, second = pd.Series(groups).astype("string"), pd.Series(item_groups).astype("string")
    codes, _ = pd.factorize(pd.concat([first, second]))
    own, other = codes[: len(first)], codes[len(first) :]
    return own, np.where(other < 0, -2, other)
