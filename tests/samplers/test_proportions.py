"""Batches from several unlabeled sources in proportions, and batches joined from several samplers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssc_toolkit.samplers import BalancedBatchSampler, JoinedBatchSampler, SemiSupervisedBatchSampler

SOURCES = [range(20, 30), range(30, 80), range(80, 200)]


def source_counts(sampler, batches: int) -> list[int]:
    """Number of labeled items, and of unlabeled items from each source and from none of them."""
    drawn = [index for number in range(batches) for index in sampler.batch(number)]
    assert all(int(index) < 10 for index in drawn if index.labeled)
    others = [int(index) for index in drawn if not index.labeled]
    counts = [sum(item in source for item in others) for source in SOURCES]
    return [len(drawn) - len(others), *counts, len(others) - sum(counts)]


@given(
    weights=st.lists(st.integers(1, 20), min_size=4, max_size=4),
    uses_rest=st.booleans(),
    fraction=st.sampled_from([0.0, 0.25, 0.3, 0.5]),
    batches=st.integers(1, 40),
)
def test_the_counts_follow_the_proportions(weights, uses_rest, fraction, batches):
    weights = weights if uses_rest else [*weights[:3], 0]
    proportions = [weight / sum(weights) for weight in weights]
    sampler = SemiSupervisedBatchSampler(
        range(10), range(10, 200), 12, labeled_fraction=fraction, sources=SOURCES, proportions=proportions[:3]
    )
    labeled, *counts = source_counts(sampler, batches)
    assert abs(labeled - fraction * 12 * batches) < 1
    for count, proportion in zip(counts, proportions, strict=True):
        assert abs(count - proportion * sum(counts)) < 4
    assert (counts[-1] == 0) == (not uses_rest) or batches < 5


def test_a_source_is_used_whole_before_it_repeats():
    sampler = SemiSupervisedBatchSampler(
        [], range(20, 200), 10, labeled_fraction=0, sources=SOURCES, proportions=[0.1, 0.5, 0.4]
    )
    drawn = [int(item) for number in range(10) for item in sampler.batch(number)]
    assert sorted(item for item in drawn if item < 30) == list(range(20, 30))
    assert sorted(item for item in drawn if 30 <= item < 80) == list(range(30, 80))
    assert len(sampler) == 30  # one pass over the largest source
    assert drawn == [int(item) for number in range(10) for item in sampler.batch(number)]


def test_items_outside_of_the_budget_are_among_the_rest():
    options = {"label_budget": 0.5, "labels": torch.arange(10) % 2, "sources": SOURCES[:1]}
    sampler = SemiSupervisedBatchSampler(range(10), range(20, 30), 12, **options, proportions=[0.5])
    assert sorted({int(index) for index in sampler.unlabeled}) == sorted(
        {*range(20, 30), *range(10)} - {*sampler.labeled.tolist()}
    )


def test_without_sources_batches_and_states_are_as_before():
    plain = SemiSupervisedBatchSampler(range(10), range(10, 50), 6, seed=3)
    assert plain.settings()[:1] == (0.5,)
    assert len(plain.settings()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sources": SOURCES, "proportions": [0.5]}, "proportions: expected one for each of 3 sources, got 1"),
        ({"sources": SOURCES[:1], "proportions": [0.0]}, "proportions: expected numbers above 0"),
        ({"sources": SOURCES[:2], "proportions": [0.9, 0.2]}, "with a sum of at most 1"),
        ({"sources": [range(5)], "proportions": [1]}, "sources: expected different items, all of them unlabeled"),
        ({"sources": [range(20, 30), range(25, 35)], "proportions": [0.5, 0.5]}, "sources: expected different items"),
        ({"sources": [[]], "proportions": [1]}, "sources: expected at least 1 item in each source"),
        ({"sources": [range(10, 200)], "proportions": [0.5]}, "proportions: expected a sum of 1, because no unlabeled"),
    ],
)
def test_proportions_that_cannot_work_are_errors(options, words):
    with pytest.raises(ValueError, match=words):
        SemiSupervisedBatchSampler(range(10), range(10, 200), 12, **options)


def test_joined_batches_contain_those_of_each_sampler():
    balanced = BalancedBatchSampler(torch.tensor([0] * 50 + [1] * 6), 2, 3, seed=1)
    others = SemiSupervisedBatchSampler([], range(56, 90), 4, labeled_fraction=0, seed=1)
    joined = JoinedBatchSampler([balanced, others])
    assert joined.batch_size == 10
    assert joined.batch(7) == [*balanced.batch(7), *others.batch(7)]
    state = joined.state_dict(3)
    again = JoinedBatchSampler([balanced, others])
    again.load_state_dict(state)
    assert next(iter(again)) == joined.batch(3)
    with pytest.raises(ValueError, match="state: expected settings_hash"):
        JoinedBatchSampler([others, BalancedBatchSampler(torch.tensor([0] * 56), 1, 6, seed=1)]).load_state_dict(state)
    for samplers in ([], [balanced, SemiSupervisedBatchSampler([], range(9), 4, labeled_fraction=0, world_size=2)]):
        with pytest.raises(ValueError, match="samplers: expected samplers of one rank and number of processes"):
            JoinedBatchSampler(samplers)
