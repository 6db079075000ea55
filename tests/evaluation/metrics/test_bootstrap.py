"""Bootstrap intervals of a mean."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ssc_toolkit.evaluation import Predictions, bootstrap_mean, measure
from ssc_toolkit.evaluation.metrics import bootstrap as bootstrap_module
from ssc_toolkit.evaluation.metrics.bootstrap import expand_resampled


def test_intervals_have_their_nominal_coverage():
    random = np.random.default_rng(0)
    hits = 0
    for repeat in range(200):
        effect = random.normal(size=60).repeat(3)  # groups of three that share most of their value
        values = effect + 0.1 * random.normal(size=180)
        interval = bootstrap_mean(values, np.arange(60).repeat(3), seed=repeat)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_groups_widen_an_interval():
    values = np.random.default_rng(0).normal(size=60).repeat(5)
    grouped = bootstrap_mean(values, np.arange(60).repeat(5))
    single = bootstrap_mean(values, np.arange(300))
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)
    assert grouped.value == single.value


@pytest.mark.parametrize("groups", [4, 6, 12])
def test_intervals_of_few_groups_cover_what_they_should(groups):
    random = np.random.default_rng(0)
    hits = []
    for repeat in range(300):
        values = random.normal(size=groups).repeat(3) + 0.1 * random.normal(size=3 * groups)
        interval = bootstrap_mean(values, np.arange(groups).repeat(3), seed=repeat)
        hits.append(interval.low <= 0 <= interval.high)
    assert np.mean(hits) > 0.88  # without the correction 0.76, 0.82 and 0.88


def test_one_group_has_no_interval():
    interval = bootstrap_mean(np.array([0.0, 1, 1]), np.zeros(3))
    assert interval.value == pytest.approx(2 / 3)
    assert np.isnan([interval.low, interval.high]).all()


def test_blocks_of_resamples_give_the_same_intervals(monkeypatch):
    random = np.random.default_rng(0)
    correct, groups = random.integers(2, size=300).astype(float), np.arange(300)
    outputs, rows = random.normal(size=(300, 3)), np.arange(300)
    tags = Predictions(outputs, random.integers(2, size=(300, 3)), rows, groups, "multi-hot", ("a", "b", "c"))
    numbers = Predictions(outputs, random.normal(size=(300, 3)), rows, groups % 40, "number", ("a", "b", "c"))
    whole = bootstrap_mean(correct, groups)
    weights = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=1000)
    means = expand_resampled(weights @ correct / 300, 300)
    assert [whole.low, whole.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), rel=1e-12)
    scores = [measure([one]) for one in (tags, numbers)]
    monkeypatch.setattr(bootstrap_module, "_BLOCK", 7 * 300)
    assert bootstrap_mean(correct, groups) == whole
    for score, one in zip(scores, (tags, numbers), strict=True):
        for name, interval in measure([one]).intervals.items():
            expected = score.intervals[name]
            assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high], rel=1e-12)
        assert measure([one]).headline.low == pytest.approx(score.headline.low, rel=1e-12)


def test_many_groups_do_not_fill_memory():
    values = np.random.default_rng(0).integers(2, size=8000).astype(float)
    tracemalloc.start()
    bootstrap_mean(values, np.arange(8000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the counts of all resamples are 64 MB, and as much again as real numbers


def test_an_interval_of_a_mean_stays_within_the_values():
    interval = bootstrap_mean(np.array([1.0, 1, 1, 1, 0]), np.arange(5))
    assert (interval.low >= 0, interval.high) == (True, 1)
