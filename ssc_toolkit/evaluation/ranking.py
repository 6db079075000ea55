"""Retrieval: whether what is nearest has the same labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.checks import check_embeddings, check_length, check_whole
from ssc_toolkit.data import Labels
from ssc_toolkit.data.cells import cell_texts
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean, distinct
from ssc_toolkit.evaluation.neighbors import similarity_blocks, unit_rows
from ssc_toolkit.evaluation.scores import Score
from ssc_toolkit.evaluation.ties import expected_over_ties

CUTOFFS = (1, 5, 10)

_BLOCK = 1 << 23  # similarities at once: sorting takes several times their memory


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
    r"""Rank a database by cosine for each query, and see where the items with the same label are.

    An item is relevant if it has the query's class, or shares a label with it. A query is never its own answer; in a
    database of its own it is known by its id. With
    \(r_j \in \{0, 1\}\) the relevance of rank j, and R relevant items:

    \[
    \mathrm{AP} = \frac{1}{R} \sum_j r_j \frac{\sum_{i \le j} r_i}{j}, \qquad
    \mathrm{precision@}k = \frac{1}{k} \sum_{j \le k} r_j, \qquad
    \mathrm{recall@}k = \max_{j \le k} r_j
    \]

    mAP is the mean of AP over the queries (Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008,
    section 8.4); recall@k, as in metric learning, is the share of queries with a relevant item among the first k
    (Jégou, Douze and Schmid, TPAMI 2011). Queries without any relevant item have no AP and are left out; their number
    is `undefined_queries` among the further numbers. Where items are equally similar to a query, all numbers are means
    over all orders of those (`ties.expected_over_ties`): the order of the rows does not matter.

    Args:
        embeddings: (Q, dim) of the queries.
        labels: of the queries, class or multi-hot, of any kind that the model was never trained on, too.
        groups: (Q,) group of each query, such as its tune or artist; for the intervals, and for `other_groups_only`.
        ids: (Q,) what tells a query from other items, such as its path; what has the same id is left out of its
            ranking. Needed where the database may hold the queries; among themselves they are known by their rows.
        database: (N, dim) what is ranked; the queries themselves if None.
        database_labels: of the database; classes are matched by their names.
        database_groups: (N,) group of each item of the database.
        database_ids: (N,) id of each, to be given with `ids`.
        other_groups_only: leave items of the query's own group out of its ranking, since versions of a tune or
            tracks of an artist are found by what they share beside the label.
        cutoffs: each k.
        seed: of the bootstrap over the queries' groups.

    Returns:
        A score with the headline metric "mAP", and recall@k and precision@k for each cutoff.

    Raises:
        InputError: for numbers as labels, groups or ids that are missing, arguments whose lengths or widths do not
            fit, no cutoff or one below 1, or if no query has a relevant item.

    Examples:
        >>> labels = Labels(torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), ("a", "b"))
        >>> score = retrieval(np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 1]]), labels, cutoffs=(1,))
        >>> round(score.headline.value, 3), score.others["recall@1"]
        (0.854, 0.75)
    """
    if (database is None) != (database_labels is None):
        raise InputError("database: embeddings and labels of the database belong together; give both or none")
    for k in cutoffs if len(cutoffs) else (0,):
        check_whole("cutoffs", k, 1)
    queries = ranked = _Side.checked("", embeddings, labels, groups, ids)
    if database is not None and database_labels is not None:
        ranked = _Side.checked("database_", database, database_labels, database_groups, database_ids)
    widths = queries.embeddings.shape[1], ranked.embeddings.shape[1]
    if widths[0] != widths[1]:
        raise InputError(f"database: expected embeddings as wide as those of the queries, {widths[0]}, got {widths[1]}")
    if (queries.ids is None) != (ranked.ids is None):
        raise InputError("ids: those of queries and database belong together; give both or none")
    if other_groups_only and (queries.groups is None or ranked.groups is None):
        raise InputError("groups: to leave out a query's own group, the groups of queries and database are needed")
    rows = queries.usable()
    found = _rankings(queries, ranked, rows, other_groups_only, cutoffs)
    if found is None or np.isnan(found[0]).all():
        raise InputError("labels: no query has a relevant item in the database")
    return _score(*found, rows, queries.groups, cutoffs, seed)


@dataclass(frozen=True)
class _Side:
    """Queries, or what is ranked."""

    embeddings: np.ndarray
    labels: Labels
    groups: np.ndarray | None
    ids: np.ndarray | None

    @classmethod
    def checked(
        cls, prefix: str, embeddings: np.ndarray, labels: Labels, groups: np.ndarray | None, ids: np.ndarray | None
    ) -> _Side:
        """A side whose parts fit together; `prefix` is what its arguments begin with."""
        count = len(labels.labeled)
        embeddings = check_embeddings(embeddings, count, prefix.rstrip("_") or "embeddings", f"{prefix}labels")
        check_length(f"{prefix}groups", groups, count, f"{prefix}labels")
        check_length(f"{prefix}ids", ids, count, f"{prefix}labels")
        return cls(embeddings, labels, groups, ids)

    def usable(self) -> np.ndarray:
        """Rows with a label and an embedding."""
        return np.flatnonzero(self.labels.labeled.numpy() & np.isfinite(self.embeddings).all(axis=1))


def _rankings(
    queries: _Side, ranked: _Side, rows: np.ndarray, other_groups_only: bool, cutoffs: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(Q,) average precision, (Q, cutoffs) recall and (Q, cutoffs) precision of some queries; None without any."""
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
        asked = rows[block]
        relevant = (first[asked] @ second[known].T) > 0
        excluded = asked[:, None] == known if queries is ranked else np.zeros((len(asked), len(known)), dtype=bool)
        for codes, item_codes in alike:
            excluded |= codes[asked][:, None] == item_codes[known]
        blocks.append(_ranked(similarity[:, places], relevant, torch.from_numpy(excluded), cutoffs))
    average, recall, precision = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return average, recall, precision


def _distinct_rows(vectors: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
    """The distinct rows among unit vectors, and the place of each row among them.

    Equal rows then have equal similarities to the last bit, whatever their places.
    """
    unit = np.ascontiguousarray(unit_rows(vectors))
    rows = unit.view(np.dtype((np.void, unit.itemsize * unit.shape[1])))[:, 0]
    _, first, places = np.unique(rows, return_index=True, return_inverse=True)
    return unit[first], torch.from_numpy(places)


def _ranked(
    similarity: Tensor, relevant: Tensor, excluded: Tensor, cutoffs: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_rankings`, of a block; NaN without a relevant item."""
    similarity, order = similarity.masked_fill(excluded, -torch.inf).sort(dim=1, descending=True)
    ranked = (relevant & ~excluded).gather(1, order)
    found = ranked.cumsum(dim=1)
    ranks = torch.arange(1, ranked.shape[1] + 1)
    average = ((found.double() / ranks * ranked).sum(dim=1) / found[:, -1]).numpy()  # 0 / 0 is NaN
    early = torch.stack([found[:, min(k, found.shape[1]) - 1] for k in cutoffs], dim=1).numpy()
    recall, precision = (early > 0).astype(float), early / np.array(cutoffs)
    tied = (similarity[:, 1:] == similarity[:, :-1]) & (ranked[:, 1:] != ranked[:, :-1])
    for row in tied.any(dim=1).nonzero()[:, 0].tolist():  # only a tie of relevant and other items matters
        average[row], recall[row], precision[row] = expected_over_ties(
            similarity[row].numpy(), ranked[row].numpy(), cutoffs
        )
    return average, recall, precision


def _score(
    average: np.ndarray,
    recall: np.ndarray,
    precision: np.ndarray,
    queries: np.ndarray,
    groups: np.ndarray | None,
    cutoffs: Sequence[int],
    seed: int,
) -> Score:
    defined = ~np.isnan(average)
    rows = queries[defined]
    of_queries = rows if groups is None else distinct(np.asarray(groups))[rows]
    intervals: dict[str, Interval] = {}
    for place, k in enumerate(cutoffs):
        intervals[f"recall@{k}"] = bootstrap_mean(recall[defined, place], of_queries, seed)
        intervals[f"precision@{k}"] = bootstrap_mean(precision[defined, place], of_queries, seed)
    headline = bootstrap_mean(average[defined], of_queries, seed)
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
    first, second = ([] if own is None else cell_texts(own) for own in (groups, item_groups))
    codes, _ = pd.factorize(np.array([*first, *second], dtype=object))
    own, other = codes[: len(first)], codes[len(first) :]
    return own, np.where(other < 0, -2, other)
