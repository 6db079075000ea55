"""Cross-validation of probes by groups, against loops by hand, scikit-learn and data with a known answer."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import Predictions, measure, probe
from ssc_toolkit.evaluation.probing import cross_validation as cross_validation_module
from ssc_toolkit.evaluation.probing.cross_validation import fit_folds
from ssc_toolkit.evaluation.probing.folds import CrossValidation, assign_folds, mark_cross_validated
from ssc_toolkit.evaluation.probing.heads import HEADS
from ssc_toolkit.evaluation.probing.heads.linear import INVERSE_STRENGTHS
from ssc_toolkit.evaluation.probing.probe import label_signal


def labeled_kits(kits: int = 12, count: int = 120, spread: float = 1.0, seed: int = 0):
    """Embeddings and a table of hits of three drums, in kits."""
    random = np.random.default_rng(seed)
    drum, kit = random.integers(3, size=count), np.arange(count) % kits
    embeddings = (2 * np.eye(3)[drum] + spread * random.normal(size=(count, 3))).astype(np.float32)
    table = pd.DataFrame(
        {
            "path": [f"/music/{row:03}.wav" for row in range(count)],
            "drum": [f"drum {number}" for number in drum],
            "kit": [f"kit {number:02}" for number in kit],
            "tags": [f"drum {number}|{'old' if own % 2 else 'new'}" for number, own in zip(drum, kit, strict=True)],
            "level": drum + 0.1 * random.normal(size=count),
        }
    )
    return embeddings, table


def folds_of(table: pd.DataFrame, column: str = "drum", seed: int = 0, **settings):
    tracks = mark_cross_validated(TrackTable(table))
    labels = label_signal(tracks, column, "number" if column == "level" else None)
    return CrossValidation(**settings).assign(tracks, labels, column, seed), labels


def test_tracks_without_an_identifier_are_groups_of_their_own():
    table = labeled_kits(count=30)[1].assign(track_id=[None, None, *map(str, range(28))])
    names = CrossValidation(3).group_names(TrackTable(table))
    assert len(set(names)) == 30
    assert names[0] == "track 000.wav"


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=4, max_size=80),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_folds_keep_groups_whole_and_are_not_empty(tracks, count, seed):
    groups, classes = np.array(tracks).T
    count = min(count, len(np.unique(groups)))
    fold = assign_folds(groups, np.eye(4)[classes], count, np.random.default_rng(seed))
    assert set(fold) == set(range(count))
    assert all(len(set(fold[groups == group])) == 1 for group in groups)


@given(st.lists(st.integers(0, 3), min_size=10, max_size=80), st.integers(2, 6), st.integers(0, 3))
def test_single_tracks_are_stratified_by_class(classes, count, seed):
    classes = np.array(classes)
    fold = assign_folds(np.arange(len(classes)), np.eye(4)[classes], count, np.random.default_rng(seed))
    for number in range(4):
        sizes = np.bincount(fold[classes == number], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("column", ["drum", "tags", "level"])
def test_folds_are_even_in_all_kinds_of_labels(column):
    _, table = labeled_kits(kits=60)
    folds, labels = folds_of(table, column, folds=5)
    assert np.bincount(folds.fold).tolist() == [24] * 5
    values = labels.values.numpy()[folds.rows]
    means = [np.mean(values[folds.fold == fold], axis=0) for fold in range(5)]
    assert np.ptp(means, axis=0).max() < 0.15


@pytest.mark.parametrize("method", ["linear", "mlp"])
def test_scores_do_not_depend_on_the_order_of_rows(method):
    embeddings, table = labeled_kits(count=60)
    order = np.random.default_rng(1).permutation(60)
    shuffled = table.iloc[order].reset_index(drop=True)
    for settings in ({"folds": 3, "group_by": "kit"}, {"folds": 4}):
        one = probe(embeddings, table, "drum", method=method, **settings)
        other = probe(embeddings[order], shuffled, "drum", method=method, **settings)
        assert one.headline == other.headline
        assert [shuffled["path"][row] for row in other.rows] == [table["path"][row] for row in one.rows]
    assert not np.array_equal(folds_of(table, seed=1, folds=4)[0].fold, folds_of(table, seed=2, folds=4)[0].fold)


def test_nested_selection_equals_a_loop_by_hand():
    embeddings, table = labeled_kits(spread=2.5)
    folds, labels = folds_of(table, folds=4, group_by="kit")
    found = fit_folds(embeddings, labels, "drum", folds).predict(embeddings)
    truth, expected = labels.values.numpy(), np.zeros((120, 3))
    chosen = set()
    for fold in range(4):
        test, train = folds.rows[folds.fold == fold], folds.rows[folds.fold != fold]
        assert not set(table["kit"][test]) & set(table["kit"][train])
        inner = np.empty(len(train), dtype=int)
        for number, (_, held_out) in enumerate(folds.inner(train, truth, 0)):
            inner[np.isin(train, held_out)] = number
        for number in range(5):
            assert not set(table["kit"][train[inner == number]]) & set(table["kit"][train[inner != number]])

        def model(strength):
            return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200, tol=1e-3))

        def accuracy(strength, train=train, inner=inner):
            said = cross_val_predict(model(strength), embeddings[train], truth[train], cv=PredefinedSplit(inner))
            return np.mean(said == truth[train])

        best = max(INVERSE_STRENGTHS, key=accuracy)
        chosen.add(best)
        expected[test] = model(best).fit(embeddings[train], truth[train]).predict_proba(embeddings[test])
    assert len(chosen) > 1
    assert np.allclose(found.outputs, expected[found.rows], atol=1e-5)


@pytest.mark.parametrize("method", HEADS)
def test_a_fold_has_no_effect_on_its_own_probe(method, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.evaluation.probing.heads.mlp.MAX_EPOCHS", 5)
    monkeypatch.setattr("ssc_toolkit.evaluation.probing.heads.weighted_layers.MAX_EPOCHS", 5)
    embeddings, table = labeled_kits(count=60)
    folds, labels = folds_of(table, folds=3, group_by="kit")
    widths = {"a": 1, "b": 2}
    heads = fit_folds(embeddings, labels, "drum", folds, method, layer_widths=widths).heads
    for fold in range(3):
        own = folds.rows[folds.fold == fold]
        spoiled, known = embeddings.copy(), labels.values.clone()
        spoiled[own] *= -5
        known[own] = (known[own] + 1) % 3
        other = type(labels)(known, labels.labeled, labels.names, labels.kind)
        again = fit_folds(spoiled, other, "drum", folds, method, layer_widths=widths).heads
        assert heads[fold].settings == again[fold].settings
        assert np.array_equal(heads[fold].predict(embeddings), again[fold].predict(embeddings))
        assert not np.array_equal(heads[fold - 1].predict(embeddings), again[fold - 1].predict(embeddings))


def test_grouped_folds_remove_the_effect_of_albums():
    random = np.random.default_rng(0)
    album = np.arange(160) % 20
    embeddings = np.eye(20)[album] * 3 + 0.1 * random.normal(size=(160, 20))  # they show the album and nothing else
    table = pd.DataFrame({"genre": np.array(["jazz", "rock"])[random.permutation(20) % 2][album], "album": album})
    assert probe(embeddings, table, "genre", folds=5).headline.value == 1
    assert probe(embeddings, table, "genre", folds=5, group_by="album").headline.value < 0.7
    grouped = table.rename(columns={"album": "group"})  # the column that is used by default
    assert probe(embeddings, grouped, "genre", folds=5).headline.value < 0.7


def test_each_group_is_left_out_once(caplog):
    embeddings, table = labeled_kits(kits=6, count=60)
    score = probe(embeddings, table, "drum", folds="groups", group_by="kit")
    assert "drum: Caution: the intervals are from 6 groups" in caplog.text
    assert (score.tracks, score.groups, score.folds) == (60, 6, 6)
    (found,) = score.predictions
    assert all(len(set(found.folds[found.groups == group])) == 1 for group in range(6))


def test_ten_groups_need_no_caution_and_nine_do(caplog):
    for kits, expected in ((10, 0), (9, 1)):
        embeddings, table = labeled_kits(kits, count=90)
        caplog.clear()
        score = probe(embeddings, table, "drum", folds=3, group_by="kit", method="prototypes")
        table["split"] = np.repeat(["train", "valid", "test"], 30)
        fixed = probe(embeddings, table.assign(group=table["kit"]), "drum", method="prototypes")
        assert (score.groups, fixed.groups) == (kits, kits)
        assert caplog.text.count("fewer than ten") == 2 * expected


def test_each_seed_has_its_own_folds():
    embeddings, table = labeled_kits(count=60)
    score = probe(embeddings, table, "drum", folds=4, method="knn", repeats=3)
    assert score.seeds == 3
    assert len({one.folds.tobytes() for one in score.predictions}) == 3
    values = [np.mean(one.outputs.argmax(axis=1) == one.truth) for one in score.predictions]
    assert score.headline.value == pytest.approx(np.mean(values))


def test_only_the_given_splits_are_cross_validated():
    embeddings, table = labeled_kits(count=60)
    table["split"] = np.repeat(["train", "valid", "test"], 20)
    score = probe(embeddings, table, "drum", folds=3, splits=("train", "valid"), method="prototypes")
    assert sorted(score.rows) == list(range(40))
    everything = probe(embeddings, table, "drum", folds=3, splits=("train", "valid", "test"), method="prototypes")
    assert everything.tracks == 60


def test_rankings_are_compared_within_folds_only():
    random = np.random.default_rng(0)
    fold, truth = np.repeat(np.arange(3), [10, 20, 30]), (random.random((60, 2)) < 0.4).astype(float)
    outputs = random.normal(size=(60, 2)) + truth
    moved = outputs + 100 * fold[:, None]  # each probe has its own scale
    found = [
        measure([Predictions(o, truth, np.arange(60), np.arange(60), "multi-hot", ("a", "b"), fold)])
        for o in (outputs, moved)
    ]
    for name, metric in (("average precision", average_precision_score), ("roc_auc", roc_auc_score)):
        expected = np.mean(
            [
                np.average(
                    [metric(truth[fold == f, c], outputs[fold == f, c]) for f in range(3)],
                    weights=[truth[fold == f, c].sum() for f in range(3)],
                )
                for c in range(2)
            ]
        )
        values = [one.headline.value if name == one.metric else one.others[name] for one in found]
        assert values == pytest.approx([expected, expected])
    assert found[0].headline == found[1].headline
    interval = found[0].headline
    assert interval.low < interval.value < interval.high


def test_a_class_that_no_fold_can_rank_is_counted():
    truth = np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]])
    outputs, fold = np.array([[0.9, 0.9], [0.8, 0.1], [0.7, 0.8], [0.1, 0.2]]), np.array([0, 0, 1, 1])
    score = measure([Predictions(outputs, truth, np.arange(4), np.arange(4), "multi-hot", ("a", "b"), fold)])
    assert (score.undefined_classes, score.headline.value) == (1, 1.0)  # all positives of class a are in one fold


def test_numbers_are_scored_over_all_folds_together():
    embeddings, table = labeled_kits()
    score = probe(embeddings, table, "level", kind="number", folds=5, group_by="kit")
    (found,) = score.predictions
    assert score.headline.value == pytest.approx(r2_score(found.truth, found.outputs))
    assert score.headline.value > 0.4


def test_tracks_without_label_or_embedding_are_left_out():
    embeddings, table = labeled_kits(count=60)
    table.loc[[3, 4], "drum"] = None
    embeddings[5] = np.nan
    score = probe(embeddings, table, "drum", folds=3, group_by="kit")
    assert sorted(set(range(60)) - set(score.rows)) == [3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        ({"folds": 13, "group_by": "kit"}, {}, "folds: expected at most 12, the number of groups"),
        ({"folds": 1}, {}, "folds: expected an integer of at least 2"),
        ({"folds": "kit"}, {}, "folds: expected an integer"),
        ({"folds": 5, "group_by": "artist"}, {}, "group_by: there is no column 'artist'"),
        ({"group_by": "kit"}, {}, "group_by: expected folds to use it with"),
        ({"splits": ("train",)}, {}, "splits: expected folds to use it with"),
        ({"folds": "groups"}, {}, "group_by: expected the name of a group column"),
        ({"folds": 3, "group_by": "drum"}, {}, "got one group for 'drum 0' in 'drum 0', 'drum 1' in"),
        ({"folds": 5, "group_by": "kit"}, {"drum": ["rare", *["a", "b"] * 59, "a"]}, "for 'rare' in 'kit 00'; merge"),
        ({"folds": 5, "group_by": "kit"}, {"kit": [None, " ", *["x", "y"] * 59]}, "got none for 2 of 120, such as 000"),
        ({"folds": 2, "group_by": "kit"}, {"kit": ["x", "y"] * 60}, "folds: expected at least three groups"),
        ({"folds": 5}, {"drum": "same"}, "labels: expected at least two classes"),
        ({"folds": 5}, {"split": "train"}, "splits: expected the names of the splits to cross-validate"),
        ({"folds": 5, "splits": ("dev",)}, {"split": "train"}, "splits: expected some of train, got dev"),
        ({"folds": 5, "splits": ("train",)}, {}, "splits: expected a table with a column 'split'"),
        (
            {"folds": "groups", "group_by": "kit"},
            {"drum": [f"{'a' if row % 12 % 2 else 'b'}|x" for row in range(120)]},
            "folds: expected a fold with and without some label",
        ),
    ],
)
def test_invalid_cross_validation_is_an_error(settings, change, words):
    embeddings, table = labeled_kits()
    with pytest.raises(InputError, match=words):
        probe(embeddings, table.assign(**change), "drum", **settings)


def test_selection_without_different_labels_is_an_error():
    embeddings, table = labeled_kits(count=40)
    table = table.assign(drum=["a", "a", "b", "b"] * 10, kit=["p", "q", "r", "s"] * 10)
    with pytest.raises(InputError, match="on which no hyperparameters can be selected"):
        probe(embeddings[:40], table, "drum", folds=2, group_by="kit")


def test_neighbors_of_folds_keep_no_training_set(monkeypatch):
    random = np.random.default_rng(0)
    _, table = labeled_kits(kits=6, count=240)
    embeddings = random.normal(size=(240, 500)).astype(np.float32)
    folds, labels = folds_of(table, folds=6)
    fit_folds(embeddings[:, :2], labels, "drum", folds, "knn")  # imports
    tracemalloc.start()
    fitted = fit_folds(embeddings, labels, "drum", folds, "knn", label_fraction=0.8)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < embeddings.nbytes / 2  # one copy for each fold would be five times as much as the embeddings
    monkeypatch.setattr(cross_validation_module, "NeighborHead", type(None))  # heads with their training sets
    whole = fit_folds(embeddings, labels, "drum", folds, "knn", label_fraction=0.8)
    assert [head.settings for head in fitted.heads] == [head.settings for head in whole.heads]
    np.testing.assert_array_equal(fitted.predict(embeddings).outputs, whole.predict(embeddings).outputs)
