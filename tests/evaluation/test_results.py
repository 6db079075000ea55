"""Scores as a tidy table: rows, selection, relative drops and paired differences."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from ssc_toolkit.evaluation import Predictions, Results, make_score_row, measure, paired_difference, relative_drop
from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.results import CLEAN, SCORE_COLUMNS, sort_in_order, to_records

SCORE = Score(
    "average precision",
    Interval(0.3, 0.2, 0.4),
    {"roc_auc": 0.8, "other": math.nan},
    tracks=50,
    undefined_classes=2,
    intervals={"roc_auc": Interval(0.8, 0.7, 0.9)},
)


def predicted(share_correct: float, seed: int = 0, runs: int = 1) -> Score:
    """A score of 60 tracks in groups of three, of which a fraction is right."""
    truth = np.arange(60) % 2
    found = []
    for run in range(runs):
        right = np.random.default_rng([seed, run]).random(60) < share_correct
        outputs = np.eye(2)[np.where(right, truth, 1 - truth)]
        found.append(Predictions(outputs, truth, np.arange(60), np.arange(60) // 3, "class", ("a", "b")))
    return measure(found)


@pytest.fixture(scope="module")
def scores() -> dict[tuple[str, float], Score]:
    return {
        ("b", 0.0): predicted(0.9, 1, 3),
        ("b", 2.0): predicted(0.6, 2, 3),
        ("a", 0.0): predicted(0.8, 3),
        ("a", 2.0): predicted(0.7, 4),
    }


@pytest.fixture(scope="module")
def results(scores) -> Results:
    rows = [
        make_score_row(score, model=model, task="key", corruption="mp3", severity=severity)
        for (model, severity), score in sorted(scores.items(), key=lambda item: item[0][1])  # condition by condition
    ]
    return Results.of([*rows, make_score_row(SCORE, model="a", task="key", method="retrieval")])


def test_each_metric_is_a_row_with_its_interval():
    row = make_score_row(
        SCORE, model="m", task="t", method="mlp", corruption="mp3", severity=1.5, label_fraction=0.1, seed=3
    )
    found = to_records(Results.of([row]).frame)
    assert [(r["metric"], r["value"], r["low"], r["high"]) for r in found] == [
        ("average precision", 0.3, 0.2, 0.4),
        ("roc_auc", 0.8, 0.7, 0.9),
        ("other", None, None, None),
    ]
    for record in found:
        assert tuple(record) == SCORE_COLUMNS
        told = [record[name] for name in ("model", "task", "method", "label_fraction", "corruption", "severity")]
        assert told == ["m", "t", "mlp", 0.1, "mp3", 1.5]
        assert (record["seed"], record["tracks"], record["undefined_classes"]) == (3, 50, 2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_severity_0_is_clean_whatever_the_corruption():
    row = make_score_row(SCORE, model="m", task="t", corruption="mp3", severity=0.0)
    assert set(Results.of([row]).frame["corruption"]) == {CLEAN}


def test_rows_are_in_order_of_models_and_means_have_no_seed(results):
    assert results.headlines["model"].tolist() == ["b", "b", "a", "a", "a"]
    assert results.headlines["severity"].tolist() == [0, 2, 0, 2, 0]
    seeds = {record["model"]: record["seed"] for record in to_records(results.frame)}
    assert seeds == {"b": None, "a": 0}  # the mean over three seeds, and one seed


def test_one_score_is_selected_by_its_columns(results, scores):
    assert results.score(model="b", severity=2.0) is scores["b", 2.0]
    assert results.select(model=["a", "b"], corruption=CLEAN, method="linear").frame["model"].tolist()[0] == "b"
    with pytest.raises(ValueError, match=r"where: expected .* one score"):
        results.score(model="b")
    with pytest.raises(ValueError, match="which 0 scores have"):
        results.score(model="c")


def test_relative_drops_are_those_of_the_pairs_of_scores(results, scores):
    drops = results.relative_drops(seed=5)
    assert drops["metric"].unique().tolist() == ["relative_drop"]
    assert drops["model"].tolist() == ["b", "a"]
    for row in drops.itertuples():
        expected = relative_drop(scores[row.model, 0.0], scores[row.model, 2.0], 5)
        assert (row.value, row.low, row.high) == (expected.value, expected.low, expected.high)
    assert len(results.select(severity=0.0).relative_drops()) == 0


def test_differences_pair_the_models_under_each_condition(results, scores):
    found = results.differences([("a", "b"), ("b", "a")], seed=5)
    assert list(zip(found["model"], found["less"], found["severity"], strict=True)) == [
        ("a", "b", 0.0),
        ("a", "b", 2.0),
        ("b", "a", 0.0),
        ("b", "a", 2.0),
    ]
    for row in found.itertuples():
        expected = paired_difference(scores[row.model, row.severity], scores[row.less, row.severity], 5)
        assert (row.value, row.low, row.high) == (expected.value, expected.low, expected.high)
    assert found["value"].tolist()[:2] == [-number for number in found["value"].tolist()[2:]]


def test_the_difference_of_means_over_seeds_covers_the_seeds():
    several, one = predicted(0.8, 1, 5), predicted(0.8, 1)
    difference = paired_difference(several, one)
    values = [np.mean(p.outputs.argmax(axis=1) == p.truth) for p in several.predictions]
    assert difference.value == pytest.approx(np.mean(values) - one.headline.value)
    assert difference.low < difference.value < difference.high
    same = paired_difference(several, several)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="same tracks, seeds and metric"):
        paired_difference(several, predicted(0.8, 1, 2))


def test_the_drop_of_r2_has_an_interval_around_it():
    random = np.random.default_rng(0)
    truth, noise = random.normal(size=(2, 40, 1))
    groups = np.arange(40)
    clean, corrupted = (
        measure([Predictions(outputs, truth, groups, groups, "number", ("x",))])
        for outputs in (truth + 0.1 * noise, noise - 2 * truth)
    )
    drop = relative_drop(clean, corrupted)  # R2 is far below 0, so that more than all of it is lost
    assert 1 < drop.low <= drop.value <= drop.high


def test_joined_results_hold_all_scores(results):
    other = Results.of([make_score_row(SCORE, model="c", task="mood")])
    both = Results.joined([results, other])
    assert len(both.frame) == len(results.frame) + len(other.frame)
    assert both.score(model="c") is SCORE
    assert sort_in_order(pd.DataFrame({"x": []}), ["x"]).empty
