"""Batches whose labeled and unlabeled items come from the same pool."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssc_toolkit.samplers import SemiSupervisedBatchSampler

fractions = st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 0.6, 0.75, 0.95])


def shared(size, batch_size, fraction, seed=0, **options):
    return SemiSupervisedBatchSampler(
        range(7, 7 + size), [], batch_size, labeled_fraction=fraction, seed=seed, **options
    )


@given(
    batch_size=st.integers(1, 15),
    world=st.integers(1, 3),
    more=st.integers(0, 120),
    fraction=fractions,
    first=st.sampled_from([0, 1, 500]),
    seed=st.integers(0, 1000),
)
def test_an_item_comes_once_in_a_batch(batch_size, world, more, fraction, first, seed):
    size = batch_size * world + more
    samplers = [shared(size, batch_size, fraction, seed, rank=rank, world_size=world) for rank in range(world)]
    for number in range(first, first + 25):
        batch = [index for sampler in samplers for index in sampler.batch(number)]
        assert len({int(index) for index in batch}) == batch_size * world
        assert all(7 <= index < 7 + size for index in batch)


@given(batch_size=st.integers(1, 15), size=st.integers(1, 150), fraction=fractions, seed=st.integers(0, 1000))
def test_fractions_are_exact_on_average(batch_size, size, fraction, seed):
    sampler = shared(size, batch_size, fraction, seed)
    counts = [sum(index.labeled for index in sampler.batch(number)) for number in range(20)]
    assert max(counts) - min(counts) <= 1
    for number in range(1, 21):
        assert abs(sum(counts[:number]) - fraction * batch_size * number) < 1


@given(
    batch_size=st.integers(1, 10), more=st.integers(0, 60), fraction=fractions,
    batches=st.integers(1, 120), seed=st.integers(0, 1000),
)  # fmt: skip
def test_items_of_a_shared_pool_come_equally_often(batch_size, more, fraction, batches, seed):
    size = 3 * batch_size + more
    sampler = shared(size, batch_size, fraction, seed)
    shown = [index for number in range(batches) for index in sampler.batch(number)]
    for kinds, apart in (((True, False), 1), ((True,), 1 if fraction <= 0.5 else 2), ((False,), 2)):
        counts = Counter(dict.fromkeys(range(7, 7 + size), 0))
        counts.update(int(index) for index in shown if index.labeled in kinds)
        assert max(counts.values()) - min(counts.values()) <= apart


@given(fraction=fractions, seed=st.integers(0, 1000))
def test_a_pass_draws_every_item_once(fraction, seed):
    sampler = shared(60, 12, fraction, seed)
    for begin in (0, 5, 500):
        drawn = [int(index) for number in range(begin, begin + 5) for index in sampler.batch(number)]
        assert sorted(drawn) == list(range(7, 67))


def test_batches_of_a_shared_pool_depend_on_their_number_alone():
    forward, backward = shared(100, 9, 0.3), shared(100, 9, 0.3)
    batches = [forward.batch(number) for number in range(60)]
    assert [backward.batch(number) for number in reversed(range(60))] == batches[::-1]
    assert [shared(100, 9, 0.3, seed=1).batch(number) for number in range(3)] != batches[:3]
    assert len({frozenset(map(int, batch)) for batch in batches}) == 60


def test_a_budget_of_all_labels_shares_the_pool_too():
    labels = torch.arange(40) % 4
    sampler = SemiSupervisedBatchSampler(range(40), [], 16, label_budget=1.0, labels=labels)
    loader = DataLoader(torch.arange(40), batch_sampler=sampler)
    assert all(len(batch.unique()) == 16 for batch in loader)


def test_fewer_items_than_a_batch_needs_repeat():
    batch = shared(5, 8, 0.5).batch(0)
    assert len(batch) == 8
    assert {int(index) for index in batch} <= set(range(7, 12))
