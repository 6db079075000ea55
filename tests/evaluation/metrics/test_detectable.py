"""Smallest differences that tracks can show, and confusion matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from ssc_toolkit.evaluation import Predictions, detectable_difference, measure, paired_difference
from ssc_toolkit.evaluation.metrics.scores import Score


def answers(right: np.ndarray, groups: np.ndarray | None = None, folds: np.ndarray | None = None) -> Score:
    """The score of a model that is right for some tracks of two classes."""
    truth = np.arange(len(right)) % 2
    outputs = np.eye(2)[np.where(right, truth, 1 - truth)]
    rows = np.arange(len(right))
    return measure([Predictions(outputs, truth, rows, rows if groups is None else groups, "class", ("a", "b"), folds)])


def draw_pair(groups: int, difference: float, seed: int) -> tuple[Score, Score]:
    """Scores of two models on four tracks per group. The first is right more often, by a difference."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    hard = random.random(groups)[group] * 0.2
    one = random.random(len(group)) < 0.6 + difference + hard - 0.1
    other = random.random(len(group)) < 0.6 + hard - 0.1
    return answers(one, group), answers(other, group)


@pytest.mark.parametrize("groups", [8, 40])
def test_the_value_is_that_of_the_formula(groups):
    random = np.random.default_rng(0)
    one, other = random.random(groups) < 0.8, random.random(groups) < 0.5
    difference = one.astype(float) - other
    error = difference.std(ddof=1) / np.sqrt(groups)
    expected = (t.ppf(0.975, groups - 1) + t.ppf(0.8, groups - 1)) * error
    assert detectable_difference(answers(one), answers(other)) == pytest.approx(expected, rel=0.15)


def test_such_a_difference_is_found_in_four_of_five_samples():
    smallest = np.mean([detectable_difference(*draw_pair(50, 0.0, seed)) for seed in range(40)])
    found = [paired_difference(*draw_pair(50, smallest, seed)) for seed in range(200)]
    assert 0.72 < np.mean([interval.low > 0 for interval in found]) < 0.92
    half = [paired_difference(*draw_pair(50, smallest / 2, seed)) for seed in range(200)]
    assert np.mean([interval.low > 0 for interval in half]) < 0.45


def test_more_groups_show_smaller_differences():
    few, many = (detectable_difference(*draw_pair(groups, 0.1, 0)) for groups in (6, 200))
    assert 0 < many < few / 3


def test_equal_models_or_one_group_show_nothing():
    one, other = draw_pair(10, 0.1, 0)
    assert np.isnan(detectable_difference(one, one))
    right = np.arange(8) < 4
    assert np.isnan(detectable_difference(answers(right, np.zeros(8)), answers(~right, np.zeros(8))))
    with pytest.raises(ValueError, match="power: expected a number above"):
        detectable_difference(one, other, power=0.4)


def test_pairs_have_the_same_folds_and_groups():
    right, fold = np.arange(12) < 8, np.arange(12) % 3
    with pytest.raises(ValueError, match="same folds and groups"):
        paired_difference(answers(right, folds=fold), answers(right, folds=fold[::-1].copy()))
    with pytest.raises(ValueError, match="same folds and groups"):
        paired_difference(answers(right, folds=fold), answers(right))
    with pytest.raises(ValueError, match="same folds and groups"):
        paired_difference(answers(right, np.arange(12)), answers(right, np.arange(12) // 2))


def test_a_confusion_matrix_counts_tracks_and_averages_seeds():
    truth, rows = np.array([0, 0, 1, 1, 2]), np.arange(5)
    said = ([0, 1, 1, 1, 0], [0, 0, 1, 0, 0])
    score = measure([Predictions(np.eye(3)[one], truth, rows, rows, "class", ("a", "b", "c")) for one in said])
    assert score.confusion().to_numpy().tolist() == [[1.5, 0.5, 0], [0.5, 1.5, 0], [1, 0, 0]]
    assert list(score.confusion().index) == ["a", "b", "c"]
    numbers = measure([Predictions(np.ones((5, 1)), truth[:, None].astype(float), rows, rows, "number", ("x",))])
    with pytest.raises(ValueError, match="predictions: expected one class per track"):
        numbers.confusion()
