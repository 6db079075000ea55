"""Batches of labeled and unlabeled items."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssc_toolkit.samplers import SemiSupervisedBatchSampler

pools = st.tuples(st.integers(1, 60), st.integers(0, 60))


fractions = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0])


def make(pool, batch_size, fraction, seed=0, **options):
    labeled, unlabeled = pool
    return SemiSupervisedBatchSampler(
        range(labeled), range(labeled, labeled + unlabeled), batch_size, labeled_fraction=fraction, seed=seed, **options
    )


@given(pool=pools, batch_size=st.integers(1, 20), fraction=fractions, seed=st.integers(0, 1000))
def test_batches_have_their_size_and_share(pool, batch_size, fraction, seed):
    sampler = make(pool, batch_size, fraction, seed)
    batches = [sampler.batch(number) for number in range(12)]
    assert all(len(batch) == batch_size for batch in batches)
    counts = [sum(index.labeled for index in batch) for batch in batches]
    assert max(counts) - min(counts) <= 1
    for number in range(1, 13):  # exact on average: never a whole item away
        assert abs(sum(counts[:number]) - fraction * batch_size * number) < 1
    for batch in batches:
        assert all(index < pool[0] for index in batch if index.labeled)
        if pool[1]:
            assert all(index >= pool[0] for index in batch if not index.labeled)


@given(pool=pools, batch_size=st.integers(1, 20), fraction=fractions, seed=st.integers(0, 1000))
def test_no_item_twice_in_a_batch_while_its_side_has_enough(pool, batch_size, fraction, seed):
    sampler = make(pool, batch_size, fraction, seed)
    for number in range(30):
        batch = sampler.batch(number)
        for side in (True, False):
            own = [int(index) for index in batch if index.labeled == side]
            size = len(sampler.labeled if side else sampler.unlabeled)
            assert len(set(own)) == min(len(own), size)


@pytest.mark.slow
@given(
    pool=st.integers(1, 60),
    batch_size=st.integers(1, 30),
    world=st.integers(1, 3),
    fraction=fractions.filter(bool),
    batches=st.integers(1, 200),
    seed=st.integers(0, 1000),
)
def test_items_of_a_side_are_shown_equally_often(pool, batch_size, world, fraction, batches, seed):
    samplers = [make((pool, pool), batch_size, fraction, seed, rank=rank, world_size=world) for rank in range(world)]
    shown = [index for number in range(batches) for sampler in samplers for index in sampler.batch(number)]
    for side in (True, False):
        counts = Counter(dict.fromkeys(range(pool) if side else range(pool, 2 * pool), 0))
        counts.update(int(index) for index in shown if index.labeled is side)
        assert max(counts.values()) - min(counts.values()) <= 1


@given(
    batch_size=st.integers(1, 30),
    batches=st.integers(1, 5),
    world=st.integers(1, 3),
    resume=st.integers(0, 4),
    epoch=st.integers(0, 10**6),
    seed=st.integers(0, 1000),
)
def test_an_epoch_shows_each_item_once(batch_size, batches, world, resume, epoch, seed):
    size = batch_size * batches * world
    shown: Counter[int] = Counter()
    for rank in range(world):
        sampler = make((size, 0), batch_size, 1.0, seed, rank=rank, world_size=world)
        again = make((size, 0), batch_size, 1.0, seed, rank=rank, world_size=world)
        assert len(sampler) == batches
        sampler.set_epoch(epoch)
        again.load_state_dict(sampler.state_dict(batches=epoch * batches + resume % batches))
        whole = list(sampler)
        assert list(again) == whole[resume % batches :]
        shown.update(int(index) for batch in whole for index in batch)
    assert shown == Counter(range(size))


@pytest.mark.parametrize("size", [60, 75, 99, 100, 101, 125, 149, 150])
def test_batches_of_small_pools_keep_changing(size):
    sampler = make((size, 0), 50, 1.0)
    seen = {frozenset(sampler.batch(number)) for number in range(60)}
    assert len(seen) >= 40


@given(pool=pools, batch_size=st.integers(1, 8), fraction=fractions, world=st.integers(1, 4))
def test_processes_share_a_batch_without_overlap(pool, batch_size, fraction, world):
    parts = [make(pool, batch_size, fraction, rank=rank, world_size=world).batch(5) for rank in range(world)]
    whole = make(pool, batch_size * world, fraction).batch(5)
    assert all(len(part) == batch_size for part in parts)
    assert Counter(map(int, whole)) == Counter(int(index) for part in parts for index in part)


def test_an_epoch_sees_the_larger_side_once():
    sampler = make((10, 90), 10, 0.5)
    assert len(sampler) == 18
    batches = list(sampler)
    assert len(batches) == 18
    assert Counter(int(i) for batch in batches for i in batch if i >= 10) == Counter(range(10, 100))
    assert list(sampler) == [sampler.batch(number) for number in range(18, 36)]
    sampler.set_epoch(0)
    assert list(sampler) == batches


def test_without_unlabeled_items_the_labeled_ones_are_used():
    batch = make((20, 0), 8, 0.5).batch(0)
    assert [index.labeled for index in batch] == [True] * 4 + [False] * 4
    assert all(0 <= index < 20 for index in batch)


def test_items_outside_the_budget_are_drawn_as_unlabeled():
    labels = torch.arange(40) % 4
    sampler = make((40, 10), 8, 0.5, label_budget=0.25, labels=labels)
    assert len(sampler.labeled) == 10
    assert sorted(sampler.labeled.tolist() + sampler.unlabeled.tolist()) == list(range(50))
    assert set(labels[sampler.labeled].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("workers", [0, 2])
def test_works_with_any_data_loader(workers):
    sampler = make((10, 30), 8, 0.25)
    loader = DataLoader(torch.arange(40) * 10, batch_sampler=sampler, num_workers=workers)
    batches = [batch.tolist() for batch in loader]
    assert batches == [[10 * index for index in sampler.batch(number)] for number in range(len(sampler))]
