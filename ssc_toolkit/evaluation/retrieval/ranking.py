"""Ranking of items by similarity, and retrieval metrics of the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.checks import check_embeddings, check_integer, check_length
from ssc_toolkit.data import Labels
from ssc_toolkit.data.cells import format_cells
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.bootstrap import Interval, bootstrap_mean, separate_unknown_groups
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.retrieval.average_precision import average_over_ties
from ssc_toolkit.evaluation.retrieval.neighbors import normalize_rows, similarity_blocks
from ssc_toolkit.options.names import CUTOFFS

_BLOCK = 1 << 23  # number of similarities per block. Sorting needs several times the memory of a block


def retrieval(
    embeddings: np.ndarray,
    labels: Labels,
    *,
    groups: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    database: np.ndarray | None = None,
    database_labels: Labels | None = None,
    database_groups: np.ndarray | None = None,
    database_ids: np.ndarray | None = None,
    other_groups_only: bool = False,
    cutoffs: Sequence[int] = CUTOFFS,
    seed: int = 0,
) -> Score:
    r"""Rank the items of a database by cosine similarity to each query, and compute retrieval metrics.

    An item is relevant if it has the same class as the query or, for multi-hot labels, a label in common with it. A
    query is removed from its own ranking. If there is a separate database, items with the id of the query are removed.
    \(r_j \in \{0, 1\}\) is the relevance of the item at rank j, and R is the number of relevant items:

    \[
    \mathrm{AP} = \frac{1}{R} \sum_j r_j \frac{\sum_{i \le j} r_i}{j}, \qquad
    \mathrm{precision@}k = \frac{1}{k} \sum_{j \le k} r_j, \qquad
    \mathrm{hit\ rate@}k = \max_{j \le k} r_j
    \]

    mAP is the mean of AP over the queries (Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008,
    section 8.4). The mean of hit rate@k is the fraction of queries with a relevant item among the first k. In metric
    learning it is often called recall@k (Jégou, Douze and Schmid, TPAMI 2011), but it is not the fraction of the
    relevant items that are found. Queries without a relevant item have no AP and are omitted. Their
    number is `others["undefined_queries"]` of the score. If several items are equally similar to a query, each metric
    is the mean over all orders of these items, so the order of the rows does not matter.

    Args:
        embeddings: (Q, dim) embeddings of the Q queries.
        labels: class or multi-hot labels of the queries.
        groups: (Q,) group of each query, such as its artist. The bootstrap resamples groups, and `other_groups_only`
            needs them. If None, every query is its own group in the bootstrap.
        ids: (Q,) identifier of each query, such as its path. They are required if `database` contains the queries.
            Without `database`, queries are identified by their row numbers.
        database: (N, dim) embeddings of the N items to rank. If None, the items are the queries.
        database_labels: labels of the items. Classes of queries and items are matched by name.
        database_groups: (N,) group of each item. It is required if `other_groups_only` is True.
        database_ids: (N,) identifier of each item. It is required if `ids` is given.
        other_groups_only: whether to remove the items of the query's own group from its ranking. For example, tracks of
            the same artist are similar for reasons other than the label.
        cutoffs: values of k, each at least 1.
        seed: seed of the bootstrap.

    Returns:
        A score with the headline metric "mAP". `others` contains hit rate@k and precision@k for each cutoff.

    Raises:
        InputError: if labels are numbers, if required groups or ids are missing, if lengths or dimensions differ, if
            `cutoffs` is empty or a cutoff is below 1, or if no query has a relevant item.

    Examples:
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> score = retrieval(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels, cutoffs=(1,))
        >>> round(score.headline.value, 3), score.others["hit rate@1"]
        (0.854, 0.75)
    """
    if (database is None) != (database_labels is None):
        raise InputError("database: expected both database and database_labels, or neither, got one of them")
    for k in cutoffs if len(cutoffs) else (0,):
        check_integer("cutoffs", k, 1)
    queries = ranked = _Side.checked("", embeddings, labels, groups, ids)
    if database is not None and database_labels is not None:
        ranked = _Side.checked("database_", database, database_labels, database_groups, database_ids)
    widths = queries.embeddings.shape[1], ranked.embeddings.shape[1]
    if widths[0] != widths[1]:
        raise InputError(f"database: expected the dimension of the query embeddings, {widths[0]}, got {widths[1]}")
    if (queries.ids is None) != (ranked.ids is None):
        raise InputError("ids: expected both ids and database_ids, or neither, got one of them")
    if other_groups_only and (queries.groups is None or ranked.groups is None):
        raise InputError("groups: other_groups_only expected the groups of queries and database, got None")
    rows = queries.usable()
    found = _rankings(queries, ranked, rows, other_groups_only, cutoffs)
    if found is None or np.isnan(found[0]).all():
        raise InputError("labels: expected at least one query with a relevant item in the database, got none")
    return _score(*found, rows, queries.groups, cutoffs, seed)


@dataclass(frozen=True)
class _Side:
    """Embeddings, labels, groups and ids of the queries or of the database."""

    embeddings: np.ndarray
    labels: Labels
    groups: np.ndarray | None
    ids: np.ndarray | None

    @classmethod
    def checked(
        cls, prefix: str, embeddings: np.ndarray, labels: Labels, groups: np.ndarray | None, ids: np.ndarray | None
    ) -> _Side:
        """Check the shapes of the arguments of `retrieval` for queries or database, and return them.

        `prefix` is the prefix of the argument names in error messages.
        """
        count = len(labels.labeled)
        embeddings = check_embeddings(embeddings, count, prefix.rstrip("_") or "embeddings", f"{prefix}labels")
        check_length(f"{prefix}groups", groups, count, f"{prefix}labels")
        check_length(f"{prefix}ids", ids, count, f"{prefix}labels")
        return cls(embeddings, labels, groups, ids)

    def usable(self) -> np.ndarray:
        """Return the indices of the rows that have a label and a finite embedding."""
        return np.flatnonzero(self.labels.labeled.numpy() & np.isfinite(self.embeddings).all(axis=1))


def _rankings(
    queries: _Side, ranked: _Side, rows: np.ndarray, other_groups_only: bool, cutoffs: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rank the items for the queries in `rows`, and compute the metrics of the rankings.

    Args:
        queries: queries of `retrieval`.
        ranked: items of the database.
        rows: indices of the Q queries to use, (Q,).
        other_groups_only: as for `retrieval`.
        cutoffs: as for `retrieval`.

    Returns:
        Average precision (Q,), hit rate (Q, cutoffs) and precision (Q, cutoffs), or None without usable items.
    """
    first, second = _hot(queries.labels, queries.labels.names), _hot(ranked.labels, queries.labels.names)
    known = ranked.usable()
    if not len(rows) or not len(known):
        return None
    alike = [] if queries.ids is None else [_codes(queries.ids, ranked.ids)]
    alike += [_codes(queries.groups, ranked.groups)] if other_groups_only else []
    different, places = _distinct_rows(ranked.embeddings[known])
    at_once = _BLOCK * len(different) // len(known)
    blocks = []
    for block, similarity in similarity_blocks(queries.embeddings[rows], different, at_once):
        chosen = rows[block]
        relevant = (first[chosen] @ second[known].T) > 0
        excluded = chosen[:, None] == known if queries is ranked else np.zeros((len(chosen), len(known)), dtype=bool)
        for codes, item_codes in alike:
            excluded |= codes[chosen][:, None] == item_codes[known]
        blocks.append(_ranked(similarity[:, places], relevant, torch.from_numpy(excluded), cutoffs))
    average, hit_rate, precision = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return average, hit_rate, precision


def _distinct_rows(vectors: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
    """Normalize vectors (N, dim), and return the distinct ones, and for each vector its index among them, (N,).

    Rounding in a matrix product depends on the position of a row. Each distinct row is therefore multiplied only once,
    so that equal rows have exactly equal similarities.
    """
    unit = np.ascontiguousarray(normalize_rows(vectors))
    rows = unit.view(np.dtype((np.void, unit.itemsize * unit.shape[1])))[:, 0]
    _, first, places = np.unique(rows, return_index=True, return_inverse=True)
    return unit[first], torch.from_numpy(places)


def _ranked(
    similarity: Tensor, relevant: Tensor, excluded: Tensor, cutoffs: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the metrics that `_rankings` returns for a block of B queries and N items.

    Average precision is NaN for a query without a relevant item.

    Args:
        similarity: (B, N) cosine similarities.
        relevant: bool (B, N), True for relevant items.
        excluded: bool (B, N), True for items that are removed from the ranking of a query.
        cutoffs: as for `retrieval`.
    """
    similarity, order = similarity.masked_fill(excluded, -torch.inf).sort(dim=1, descending=True)
    ranked = (relevant & ~excluded).gather(1, order)
    found = ranked.cumsum(dim=1)
    ranks = torch.arange(1, ranked.shape[1] + 1)
    average = ((found.double() / ranks * ranked).sum(dim=1) / found[:, -1]).numpy()  # 0 / 0 is NaN
    early = torch.stack([found[:, min(k, found.shape[1]) - 1] for k in cutoffs], dim=1).numpy()
    hit_rate, precision = (early > 0).astype(float), early / np.array(cutoffs)
    tied = (similarity[:, 1:] == similarity[:, :-1]) & (ranked[:, 1:] != ranked[:, :-1])
    for row in (
        tied.any(dim=1).nonzero()[:, 0].tolist()
    ):  # only ties between relevant and irrelevant items change the metrics
        average[row], hit_rate[row], precision[row] = average_over_ties(
            similarity[row].numpy(), ranked[row].numpy(), cutoffs
        )
    return average, hit_rate, precision


def _score(
    average: np.ndarray,
    hit_rate: np.ndarray,
    precision: np.ndarray,
    queries: np.ndarray,
    groups: np.ndarray | None,
    cutoffs: Sequence[int],
    seed: int,
) -> Score:
    defined = ~np.isnan(average)
    rows = queries[defined]
    of_queries = rows if groups is None else separate_unknown_groups(np.asarray(groups))[rows]
    intervals: dict[str, Interval] = {}
    for place, k in enumerate(cutoffs):
        intervals[f"hit rate@{k}"] = bootstrap_mean(hit_rate[defined, place], of_queries, seed)
        intervals[f"precision@{k}"] = bootstrap_mean(precision[defined, place], of_queries, seed)
    headline = bootstrap_mean(average[defined], of_queries, seed)
    others = {name: interval.value for name, interval in intervals.items()}
    others["undefined_queries"] = float((~defined).sum())
    group_count = len(np.unique(of_queries))
    return Score("mAP", headline, others, len(rows), intervals=intervals, groups=group_count, rows=rows)


def _hot(labels: Labels, names: Sequence[str]) -> Tensor:
    """Return the labels of N items as multi-hot rows (N, classes) of the classes `names`, in their order."""
    if labels.kind == "number":
        raise InputError("labels: retrieval expected classes, got numbers")
    hot = labels.values if labels.is_multi_hot else torch.nn.functional.one_hot(labels.values, len(labels.names))
    place = {name: number for number, name in enumerate(labels.names)}
    columns = [hot[:, place[name]] if name in place else torch.zeros(len(hot)) for name in names]
    return torch.stack([column.float() for column in columns], dim=1)


def _codes(groups: np.ndarray | None, item_groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the groups of queries and of items as integers, which are equal if the groups are equal and known."""
    first, second = ([] if own is None else format_cells(own) for own in (groups, item_groups))
    codes, _ = pd.factorize(np.array([*first, *second], dtype=object))
    own, other = codes[: len(first)], codes[len(first) :]
    return own, np.where(other < 0, -2, other)
