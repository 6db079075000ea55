"""Bootstrap intervals of a mean."""

from __future__ import annotations

import numpy as np

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
