"""Batches of balanced classes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator

from ssc_toolkit.samplers import BalancedBatchSampler


@pytest.mark.slow
@given(
    classes=st.integers(1, 6),
    size=st.integers(1, 30),
    per_batch=st.integers(1, 8),
    each=st.integers(1, 8),
    world=st.integers(1, 2),
    batches=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_balanced_batches_show_items_equally_often(classes, size, per_batch, each, world, batches, seed):
    turns = per_batch * world
    most_turns = -(-turns // classes) + (world > 1)
    size = max(size, each * most_turns)  # no class is too small for its turns
    labels = torch.arange(classes * size) % classes
    samplers = [
        BalancedBatchSampler(labels, per_batch, each, seed=seed, rank=rank, world_size=world) for rank in range(world)
    ]
    shown = Counter(dict.fromkeys(range(classes * size), 0))
    shown.update(int(i) for number in range(batches) for sampler in samplers for i in sampler.batch(number))
    counts = torch.tensor([shown[item] for item in range(classes * size)])
    of_classes = torch.zeros(classes).long().index_add_(0, labels, counts)
    assert of_classes.max() - of_classes.min() <= each
    for label in range(classes):
        own = counts[labels == label]
        assert own.max() - own.min() <= 1


@given(
    classes=st.integers(1, 12),
    per_batch=st.integers(1, 5),
    each=st.integers(1, 4),
    world=st.integers(1, 3),
    multi_hot=st.booleans(),
    later=st.integers(2, 300),
    seed=st.integers(0, 2**31),
)
def test_balanced_batches_have_items_of_each_class(classes, per_batch, each, world, multi_hot, later, seed):
    count = 40 * classes + per_batch * each * world
    labels = torch.randint(classes, (count,), generator=generator(seed))
    if multi_hot:
        labels = torch.nn.functional.one_hot(labels, classes) | (
            torch.rand(count, classes, generator=generator(seed + 1)) < 0.2
        )
    known = torch.rand(count, generator=generator(seed + 2)) < 0.95
    hot = labels if multi_hot else torch.nn.functional.one_hot(labels, classes)
    samplers = [
        BalancedBatchSampler(labels, per_batch, each, labeled=known, seed=seed, rank=rank, world_size=world)
        for rank in range(world)
    ]
    for number in (0, 1, later):
        parts = [sampler.batch(number) for sampler in samplers]
        together = [int(item) for part in parts for item in part]
        assert len(set(together)) == len(together) == per_batch * each * world
        assert known[together].all()
        for part in parts:
            held = (hot[[int(item) for item in part]].sum(0) >= each).sum()
            assert held >= min(per_batch, classes)
        assert [list(part) for part in parts] == [list(sampler.batch(number)) for sampler in samplers]


def test_balanced_batches_draw_every_class_and_every_item():
    labels = torch.tensor([0] * 300 + [1] * 30 + [2] * 30 + [3] * 30)
    sampler = BalancedBatchSampler(labels, 4, 3, seed=1)
    batches = [sampler.batch(number) for number in range(100)]
    assert all(torch.bincount(labels[torch.tensor(batch)]).tolist() == [3, 3, 3, 3] for batch in batches)
    assert len({int(item) for batch in batches for item in batch}) == len(labels)


def test_small_classes_contribute_all_their_items():
    labels = torch.tensor([0, 0, 1, 1, 1] + [2] * 20)
    batch = BalancedBatchSampler(labels, 3, 4).batch(0)
    assert len({int(item) for item in batch}) == 12
    assert torch.bincount(labels[torch.tensor(batch)])[:2].tolist() == [2, 3]


def test_labels_of_unlabeled_rows_are_ignored():
    known = torch.tensor([True, True, False, True])
    sampler = BalancedBatchSampler(torch.tensor([0, 1, -1, 1]), 2, 1, labeled=known, steps=6)
    assert {int(index) for batch in sampler for index in batch} == {0, 1, 3}
