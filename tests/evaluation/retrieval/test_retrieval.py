"""Retrieval, hubs and directions against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import skew
from sklearn.metrics import average_precision_score

from ssc_toolkit.data import encode_labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embedding_geometry, neighbor_agreement, retrieval
from ssc_toolkit.evaluation.retrieval import neighbors, ranking
from ssc_toolkit.evaluation.retrieval.average_precision import average_over_ties

RANDOM = np.random.default_rng(0)
COUNT = 60
EMBEDDINGS = RANDOM.normal(size=(COUNT, 5)).astype(np.float32)
TABLE = pd.DataFrame(
    {
        "one": RANDOM.choice(["a", "b", "c"], size=COUNT),
        "many": ["|".join(RANDOM.choice(["x", "y", "z", "w"], size=2, replace=False)) for _ in range(COUNT)],
        "group": RANDOM.integers(12, size=COUNT).astype(str),
    }
)
TABLE.loc[[3, 7], "one"] = None


@pytest.fixture(params=["whole", "blocks"])
def block_size(request, monkeypatch):
    """The same numbers, whether all similarities fit at once or seven rows of them."""
    if request.param == "blocks":
        monkeypatch.setattr(ranking, "_BLOCK", 7 * COUNT)
        monkeypatch.setattr(neighbors, "BLOCK", 7 * COUNT)


def plain(queries, database, is_relevant, is_allowed, k):
    """(queries, 3) average precision, hit rate@k and precision@k, by loops."""
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries, database)]
    similarity = unit[0].astype(float) @ unit[1].T.astype(float)
    found = []
    for row in range(len(queries)):
        items = [item for item in range(len(database)) if is_allowed(row, item)]
        relevant = np.array([is_relevant(row, item) for item in items])
        if relevant.any():
            scores = similarity[row, items]
            first = relevant[np.argsort(-scores)[:k]]
            found.append((average_precision_score(relevant, scores), first.any(), first.mean()))
    return np.array(found, dtype=float)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("column", ["one", "many"])
@pytest.mark.parametrize("other_groups_only", [False, True])
def test_retrieval_matches_a_loop(block_size, column, other_groups_only):
    labels, group = encode_labels(TABLE, column), TABLE["group"].to_numpy()
    known = set(np.flatnonzero(labels.labeled))
    sets = [set(str(cell).split("|")) for cell in TABLE[column]]
    expected = plain(
        EMBEDDINGS,
        EMBEDDINGS,
        lambda row, item: bool(sets[row] & sets[item]) and {row, item} <= known,
        lambda row, item: row != item and item in known and not (other_groups_only and group[row] == group[item]),
        5,
    )
    score = retrieval(EMBEDDINGS, labels, groups=group, other_groups_only=other_groups_only, cutoffs=(5,))
    found = [score.headline.value, score.others["hit rate@5"], score.others["precision@5"]]
    np.testing.assert_allclose(found, expected.mean(axis=0), atol=1e-6)
    assert (score.tracks, score.metric) == (len(expected), "mAP")
    assert score.headline.low < score.headline.value < score.headline.high


def test_another_table_is_ranked_by_names_of_classes():
    database = pd.DataFrame({"other": ["b", "unheard of", "a", None, "b"]})
    vectors = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    labels, others = encode_labels(TABLE, "one"), encode_labels(database, "other")
    expected = plain(
        EMBEDDINGS,
        vectors,
        lambda row, item: TABLE["one"][row] == database["other"][item],
        lambda row, item: item != 3,
        1,
    )
    score = retrieval(EMBEDDINGS, labels, database=vectors, database_labels=others, cutoffs=(1, 50))
    assert score.headline.value == pytest.approx(expected[:, 0].mean(), abs=1e-6)
    assert score.others["hit rate@1"] == pytest.approx(expected[:, 1].mean())
    assert score.others["hit rate@50"] == 1
    assert score.others["undefined_queries"] == (TABLE["one"] == "c").sum()


def test_unknown_groups_match_no_other_group():
    labels = encode_labels(pd.DataFrame({"l": ["a", "a", "a"]}), "l")
    vectors = EMBEDDINGS[:3]
    groups = np.array([None, None, "x"], dtype=object)
    assert retrieval(vectors, labels, groups=groups, other_groups_only=True).tracks == 3
    with pytest.raises(InputError, match="expected at least one query with a relevant item"):
        retrieval(vectors, labels, groups=np.array(["x"] * 3), other_groups_only=True)
    with pytest.raises(InputError, match="the groups of queries and database"):
        retrieval(vectors, labels, other_groups_only=True)


def test_a_query_is_removed_from_its_ranking_by_id():
    labels, ids = encode_labels(TABLE, "one"), np.array([f"{row}.wav" for row in range(COUNT)])
    expected = retrieval(EMBEDDINGS, labels)
    rest = torch.arange(COUNT - 1, -1, -1)  # the same tracks in another order
    other = {"database": EMBEDDINGS[rest], "database_labels": labels[rest]}
    found = retrieval(EMBEDDINGS, labels, ids=ids, database_ids=ids[rest], **other)
    assert (found.headline, found.others) == (expected.headline, expected.others)
    twice = torch.arange(COUNT).repeat(2)  # a table that lists each track twice
    vectors = EMBEDDINGS[twice]
    assert retrieval(vectors, labels[twice]).others["hit rate@1"] == 1
    found = retrieval(vectors, labels[twice], ids=ids[twice])
    assert found.others["hit rate@1"] == pytest.approx(expected.others["hit rate@1"])
    with pytest.raises(InputError, match="ids: expected both ids and database_ids"):
        retrieval(EMBEDDINGS, labels, ids=ids, **other)


def test_ties_score_the_mean_over_all_orders():
    similarity = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1])
    relevant = np.array([0, 1, 0, 1, 0, 1, 0], dtype=bool)
    orders = [
        relevant[[0, *middle, *last]]
        for middle in itertools.permutations(range(1, 5))
        for last in itertools.permutations((5, 6))
    ]
    ranks, cutoffs = np.arange(1, 8), (1, 2, 3, 6, 7, 9)
    average, recall, precision = average_over_ties(similarity, relevant, cutoffs)
    assert average == pytest.approx(np.mean([(order * order.cumsum() / ranks).sum() / 3 for order in orders]))
    assert recall == pytest.approx([np.mean([order[:k].any() for order in orders]) for k in cutoffs])
    assert precision == pytest.approx([np.mean([order[:k].sum() / k for order in orders]) for k in cutoffs])


def test_the_order_of_tied_rows_does_not_matter(block_size):
    random = np.random.default_rng(2)
    vectors = np.repeat(random.normal(size=(7, 131)), 9, axis=0)[:COUNT]
    labels = encode_labels(TABLE, "many")
    expected = retrieval(vectors, labels)
    for _ in range(3):
        rows = torch.from_numpy(random.permutation(COUNT))
        found = retrieval(vectors[rows], labels[rows])
        assert found.headline.value == pytest.approx(expected.headline.value, abs=1e-9)
        assert found.others == pytest.approx(expected.others, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoffs": ()}, "cutoffs: expected an integer of at least 1, got 0"),
        ({"cutoffs": (5, 0)}, "cutoffs: expected an integer of at least 1, got 0"),
        ({"groups": [1, 2]}, "groups: expected 60, one for each of the labels, got 2"),
        ({"ids": [1, 2]}, "ids: expected 60"),
        ({"embeddings": EMBEDDINGS[:9]}, r"embeddings: expected \(60, dim\), a row for each of the labels"),
        ({"embeddings": EMBEDDINGS[:, 0]}, r"embeddings: expected \(60, dim\)"),
        ({"database": EMBEDDINGS[:9]}, r"database: expected \(60, dim\), a row for each of the database_labels"),
        ({"database": EMBEDDINGS[:, :3]}, "database: expected the dimension of the query embeddings, 5, got 3"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, words):
    labels = encode_labels(TABLE, "one")
    options = {"embeddings": EMBEDDINGS, "labels": labels, **options}
    if "database" in options:
        options["database_labels"] = labels
    with pytest.raises(InputError, match=words):
        retrieval(**options)


def test_geometry_matches_whole_matrices(block_size):
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    occurrence = np.bincount(np.argsort(-cosines, axis=1)[:, :10].ravel(), minlength=COUNT)
    found = embedding_geometry(EMBEDDINGS, k=10)
    assert found.hub_skewness == pytest.approx(skew(occurrence), abs=1e-6)
    assert found.anti_hubs == (occurrence == 0).mean()
    assert found.robin_hood == pytest.approx(np.abs(occurrence - 10).sum() / (2 * 10 * (COUNT - 1)))
    assert found.mean_cosine == pytest.approx(cosines[cosines > -2].mean(), abs=1e-6)
    assert 4 < found.effective_rank <= 5


def test_a_hub_and_a_single_direction():
    spread = np.concatenate([np.eye(20), np.full((1, 20), 0.5)])  # the last is nearest to all
    assert embedding_geometry(spread, k=1).robin_hood > 0.9
    assert embedding_geometry(spread, k=1).anti_hubs > 0.9
    line = np.outer(np.arange(1, 12), np.ones(4))
    assert embedding_geometry(line, k=1).mean_cosine == pytest.approx(1)
    assert embedding_geometry(line, k=1).effective_rank == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="k: expected 1 to 10"):
        embedding_geometry(line, k=11)


def test_blocks_change_no_neighbor(block_size):
    labels = encode_labels(TABLE, "one")
    known = np.flatnonzero(labels.labeled)
    unit = EMBEDDINGS[known] / np.linalg.norm(EMBEDDINGS[known], axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    names = TABLE["one"][known].to_numpy()
    assert neighbor_agreement(EMBEDDINGS, labels) == (names == names[cosines.argmax(axis=1)]).mean()


def test_neighbors_agree_by_class_and_by_shared_label():
    embeddings = np.array([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 1]])
    tracks = pd.DataFrame({"one": ["a", "a", "b", "a", None], "many": ["x|y", "y", "x", "z", None]})
    assert neighbor_agreement(embeddings, encode_labels(tracks, "one")) == 0.5
    assert neighbor_agreement(embeddings, encode_labels(tracks, "many")) == 0.5
    nobody = encode_labels(pd.DataFrame({"one": ["a", None, None, None, None]}), "one")
    assert np.isnan(neighbor_agreement(embeddings, nobody))
