"""Metrics and intervals against values worked out by hand, scikit-learn and mir_eval."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score, recall_score, roc_auc_score

from ssc_toolkit.data.key_names import KEYS, key_number
from ssc_toolkit.evaluation import Predictions, measure, relative_drop
from ssc_toolkit.evaluation.metrics.bootstrap import draw_weights, interval_over_runs
from ssc_toolkit.evaluation.metrics.classification import find_metrics
from ssc_toolkit.evaluation.metrics.key import are_keys, compute_key_weights, find_unlike_keys
from ssc_toolkit.evaluation.metrics.weighted import (
    weighted_average_precision,
    weighted_macro_recall,
    weighted_mean,
    weighted_r2,
    weighted_roc_auc,
)


def predictions(outputs, truth, kind, names, groups=None):
    outputs, truth = np.asarray(outputs, dtype=float), np.asarray(truth)
    rows = np.arange(len(truth))
    return Predictions(outputs, truth, rows, rows if groups is None else np.asarray(groups), kind, names)


def test_one_class_a_track():
    outputs = [[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.1, 0.9, 0]]
    score = measure([predictions(outputs, [0, 0, 1, 1], "class", ("a", "b", "c"))])
    assert (score.metric, score.headline.value) == ("accuracy", 0.75)
    assert score.others == {"macro_recall": 0.75}
    assert score.undefined_classes == 1  # no track is of class c
    assert score.correct.tolist() == [1, 0, 1, 1]


def test_several_labels_a_track():
    # Class a: positives at ranks 1 and 3, AP (1 + 2/3) / 2; 3 of 4 pairs in order. Class b: all right. c, d: undefined.
    outputs = [[0.9, 0.9, 0, 0], [0.8, 0.1, 0, 0], [0.7, 0.8, 0, 0], [0.1, 0.2, 0, 0]]
    truth = [[1, 1, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1]]
    score = measure([predictions(outputs, truth, "multi-hot", ("a", "b", "c", "d"))])
    assert (score.metric, score.undefined_classes) == ("average precision", 2)
    assert score.headline.value == pytest.approx((5 / 6 + 1) / 2)
    assert score.others["roc_auc"] == pytest.approx((3 / 4 + 1) / 2)


def test_numbers():
    truth = np.array([[1.0, 0], [2, 0], [3, 6], [4, 6]])
    outputs = truth + np.array([[0.5, 0], [-0.5, 0], [0.5, 3], [-0.5, -3]])
    score = measure([predictions(outputs, truth, "number", ("arousal", "valence"))])
    assert score.metric == "r2"
    assert score.others == {"r2_arousal": pytest.approx(1 - 1 / 5), "r2_valence": pytest.approx(1 - 18 / 36)}
    assert score.headline.value == pytest.approx((0.8 + 0.5) / 2)
    single = measure([predictions(outputs[:, :1], truth[:, :1], "number", ("tempo",))])
    assert (single.headline.value, single.others) == (pytest.approx(0.8), {})


def test_numbers_that_do_not_vary_are_counted_not_scored():
    truth = np.array([[1.0, 0.1], [2, 0.1], [3, 0.1], [4, 0.1]], dtype=np.float32)
    outputs = truth + np.array([[0.5, 0], [-0.5, 0], [0.5, 0], [-0.5, 0]])
    both = measure([predictions(outputs, truth, "number", ("arousal", "valence"))])
    assert (both.headline.value, both.undefined_classes) == (pytest.approx(0.8), 1)
    assert np.isnan(both.others["r2_valence"])
    assert both.headline == measure([predictions(outputs[:, :1], truth[:, :1], "number", ("arousal",))]).headline
    constant = measure([predictions(truth[:, 1:], truth[:, 1:], "number", ("valence",))])
    assert (str(constant.headline), constant.undefined_classes) == ("undefined", 1)


def test_r2_of_a_constant_resample_is_undefined():
    truth = np.array([0.1, 0.1, 0.1, 0.7], dtype=np.float32)
    values = weighted_r2(truth + 0.2, truth, np.array([[1, 1, 2, 0], [1, 1, 1, 1], [0, 0, 0, 4]]))
    assert np.isnan(values).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", ["class", "number"])
def test_intervals_stay_within_the_range_of_the_metric(kind):
    truth = np.arange(20) % 2
    outputs = [np.eye(2)[truth], np.eye(2)[np.where(np.arange(20) < 2, 1 - truth, truth)]]
    if kind == "number":
        truth, outputs = truth[:, None].astype(float), [each[:, 1:] for each in outputs]
    score = measure([predictions(each, truth, kind, ("a", "b")[: each.shape[1]]) for each in outputs])
    lowest = 0 if kind == "class" else -1  # R² has no lower bound
    assert lowest < score.headline.low < score.headline.value < score.headline.high == 1
    assert all(interval.high <= 1 for interval in score.intervals.values())
    worse = measure([predictions(1 - each, truth, kind, ("a", "b")[: each.shape[1]]) for each in outputs])
    drop = relative_drop(score, worse)
    if kind == "class":
        assert drop.low < drop.value < drop.high == 1
    else:  # R² has no least value
        assert worse.headline.low < worse.headline.value < 0


def test_a_fifth_up_counts_and_a_fifth_down_does_not():
    names = ("C major", "G major", "A minor", "C minor", "F# major")
    assert compute_key_weights(names)[0].tolist() == [1, 0.5, 0.3, 0.2, 0]
    assert compute_key_weights(names)[:, 0].tolist() == [1, 0, 0.3, 0.2, 0]
    outputs = np.eye(5)[[1, 0, 2]]  # a fifth above C, a fifth below G, the relative of C
    score = measure([predictions(outputs, [0, 1, 0], "class", names)])
    assert score.others["weighted_key_score"] == pytest.approx((0.5 + 0 + 0.3) / 3)


MODES = ((" major", " minor"), (":maj", ":min"), (" maj", "m"), ("", "m"), ("-Major", "-Minor"), ("_MAJOR", "_MINOR"))


@pytest.mark.parametrize(("major", "minor"), MODES)
@pytest.mark.parametrize(("sharp", "flat"), [("#", "b"), ("♯", "♭"), (" sharp", " flat")])
def test_the_usual_spellings_of_a_key(major, minor, sharp, flat):
    tonics = (("B" + sharp, "C"), ("C" + sharp, "D" + flat), ("D", "D"), ("E", "F" + flat), ("A" + sharp, "B" + flat))
    for mode in (major, minor):
        for one, other in tonics:
            assert key_number(one + mode) == key_number(other + mode) is not None
    names = ("C" + major, "G" + major, "A" + minor, "C" + minor, "F" + sharp + major)
    assert compute_key_weights(names)[0].tolist() == [1, 0.5, 0.3, 0.2, 0]
    assert "weighted_key_score" in find_metrics("class", names)


def test_small_letters_are_keys_with_a_mode():
    assert [KEYS[key_number(name)] for name in ("c minor", "bb maj", "b:min", "a#min")] == [
        "C minor", "Bb major", "B minor", "Bb minor",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "names", [("a", "b", "c"), ("A", "B", "C"), ("am", "fm"), ("No major", "C minor"), ("C major", "X"), ("H major",)]
)
def test_other_classes_are_no_keys(names):
    assert not are_keys(names)
    assert list(find_metrics("class", names)) == ["accuracy", "macro_recall"]
    assert find_unlike_keys((*names, "D minor", "E minor", "F minor", "G minor")) == [
        n for n in names if key_number(n) is None
    ]


def test_weighted_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    scores = random.integers(6, size=80) / 6.0  # many ties
    positive = random.random(80) < 0.3
    classes, correct = random.integers(4, size=80), (random.random(80) < 0.6).astype(float)
    numbers, guesses = random.normal(size=(2, 80))
    weights = next(draw_weights(random.integers(30, size=80), resamples=20))
    found = {
        "ap": weighted_average_precision(scores, positive, weights),
        "auc": weighted_roc_auc(scores, positive, weights),
        "recall": weighted_macro_recall(correct, classes, weights),
        "r2": weighted_r2(guesses, numbers, weights),
        "mean": weighted_mean(numbers, weights),
    }
    for row, weight in enumerate(weights):
        kept = weight > 0
        predicted = np.where(correct == 1, classes, (classes + 1) % 4)
        expected = {
            "ap": average_precision_score(positive[kept], scores[kept], sample_weight=weight[kept]),
            "auc": roc_auc_score(positive[kept], scores[kept], sample_weight=weight[kept]),
            "recall": recall_score(
                classes, predicted, sample_weight=weight, labels=np.unique(classes[kept]), average="macro"
            ),
            "r2": r2_score(numbers, guesses, sample_weight=weight),
            "mean": np.average(numbers, weights=weight),
        }
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)


def test_a_resample_without_a_positive_is_left_out():
    weights = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 3]])
    positive = np.array([False, False, True])
    for metric in (weighted_average_precision, weighted_roc_auc):
        values = metric(np.array([0.1, 0.2, 0.3]), positive, weights)
        assert np.isnan(values[[0, 2]]).all()
        assert values[1] == 1


def test_weights_draw_whole_groups():
    groups = np.array(["x", "y", "x", "z"])
    weights = next(draw_weights(groups, resamples=50))
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_intervals_over_seeds_have_their_nominal_coverage():
    random = np.random.default_rng(0)
    hits = 0
    for repeat in range(300):
        runs = random.normal(scale=1.0, size=5)  # the seed matters more than the tracks
        tracks = random.normal(scale=2.0, size=60)
        values = runs[:, None] + tracks + random.normal(scale=0.5, size=(5, 60))
        weights = next(draw_weights(np.arange(60), repeat))
        interval = interval_over_runs(values.mean(axis=1), weights @ values.T / 60, repeat)
        hits += interval.low <= 0 <= interval.high
    # Five seeds are few: the bootstrap knows their spread no better than that. Tracks alone would hold it in 55 %.
    assert 0.85 <= hits / 300 <= 0.99


def test_several_seeds_are_one_score():
    right, wrong = np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[1, 1, 0, 1]]
    both = measure([predictions(outputs, [0, 1, 0, 1], "class", ("a", "b")) for outputs in (right, wrong)])
    assert (both.headline.value, both.seeds, both.correct) == (0.875, 2, None)
    other = predictions(right[:3], [0, 1, 0], "class", ("a", "b"))
    with pytest.raises(ValueError, match="the same tracks"):
        measure([predictions(right, [0, 1, 0, 1], "class", ("a", "b")), other])


def test_a_relative_drop_is_paired():
    random = np.random.default_rng(1)
    truth = np.zeros(400, dtype=int)
    clean = random.random(400) < 0.8
    worse = clean & (random.random(400) < 0.5)  # half of what was right stays right
    scores = [
        measure([predictions(np.stack([right, ~right], axis=1), truth, "class", ("a", "b"))])
        for right in (clean, worse)
    ]
    drop = relative_drop(*scores)
    assert drop.value == pytest.approx(1 - worse.mean() / clean.mean())
    assert drop.low < 0.5 < drop.high
    # Paired: what is common to both does not widen the interval.
    assert drop.high - drop.low < 0.8 * (scores[1].headline.high - scores[1].headline.low) / clean.mean() * 2
    assert relative_drop(scores[0], scores[0]).high == 0
    with pytest.raises(ValueError, match="same tracks"):
        relative_drop(scores[0], measure([predictions(np.eye(2)[[0]], [0], "class", ("a", "b"))]))
