"""Bootstrap intervals of a mean."""

from __future__ import annotations

import numpy as np
import pytest

from ssc_toolkit.evaluation import bootstrap_mean


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


def test_an_interval_of_a_mean_stays_within_the_values():
    interval = bootstrap_mean(np.array([1.0, 1, 1, 1, 0]), np.arange(5))
    assert (interval.low >= 0, interval.high) == (True, 1)
