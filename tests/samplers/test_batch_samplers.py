"""Promises of the batch samplers and of the label budget."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator
from torch.utils.data import DataLoader

from ssc_toolkit.samplers import (
    BalancedBatchSampler,
    SampledIndex,
    SemiSupervisedBatchSampler,
    label_budget,
)
from ssc_toolkit.seeds import generator_for

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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"labeled_fraction": 1.5}, "labeled_fraction"),
        ({"label_budget": -0.1}, "label_budget"),
        ({"labeled": []}, "labeled"),
        ({"labeled": [], "unlabeled": [], "labeled_fraction": 0.0}, "unlabeled"),
        ({"label_budget": 0.5}, "labels"),
        ({"labels": torch.zeros(3)}, "labels"),
        ({"rank": 2, "world_size": 2}, "rank"),
    ],
)
def test_bad_arguments_of_the_batch_sampler_are_named(options, words):
    arguments = {"labeled": range(5), "unlabeled": range(5, 9), "batch_size": 2} | options
    with pytest.raises(ValueError, match=words):
        SemiSupervisedBatchSampler(**arguments)
    with pytest.raises(ValueError, match="share"):
        label_budget(torch.zeros(3), 1.5)


def balanced(seed: int = 0, **options) -> BalancedBatchSampler:
    labels = torch.randint(6, (200,), generator=generator(seed))
    return BalancedBatchSampler(labels, 3, 4, seed=seed, **options)


def mixed(seed: int = 0, **options) -> SemiSupervisedBatchSampler:
    return SemiSupervisedBatchSampler(range(50), range(50, 200), 12, labeled_fraction=0.3, seed=seed, **options)


every_batch_sampler = pytest.mark.parametrize("make", [balanced, mixed])


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


def test_indices_may_come_as_any_sequence_or_tensor():
    forms = (range(3, 40), list(range(3, 40)), torch.arange(3, 40), np.arange(3, 40))
    batches = [list(SemiSupervisedBatchSampler(form, range(40, 90), 8, seed=2).batch(5)) for form in forms]
    assert batches == [batches[0]] * 4


@every_batch_sampler
@pytest.mark.parametrize("workers", [0, 2])
def test_every_complete_pass_is_another_epoch(make, workers):
    sampler = make()
    loader = DataLoader(torch.arange(1000), batch_sampler=sampler, num_workers=workers)
    next(iter(loader))  # broken off: the same epoch again
    passes = [batch.tolist() for _ in range(2) for batch in loader]
    assert passes == [list(make().batch(number)) for number in range(2 * len(sampler))]
    assert sampler.epoch == 2


@every_batch_sampler
def test_an_epoch_resumes_in_its_middle_with_the_same_batches(make):
    whole = make()
    batches = [list(batch) for epoch in range(3) for batch in (whole.set_epoch(epoch), list(whole))[1]]
    sampler = make()
    sampler.set_epoch(1)
    begun = iter(sampler)
    for _ in range(2):
        next(begun)
    again = make()
    again.load_state_dict(sampler.state_dict())
    assert again.epoch == 1
    assert [list(batch) for batch in again] == batches[len(whole) + 2 : 2 * len(whole)]
    again.set_epoch(2)
    assert [list(batch) for batch in again] == batches[2 * len(whole) :]
    # A loader that has fetched ahead says itself how many were trained on.
    again.load_state_dict(sampler.state_dict(batches=3))
    assert [list(batch) for batch in again] == batches[3 : len(whole)]


@every_batch_sampler
def test_a_state_of_other_settings_is_refused(make):
    with pytest.raises(ValueError, match=r"state: expected seed to be 1 .* got 0"):
        make(seed=1).load_state_dict(make().state_dict())


@every_batch_sampler
@pytest.mark.parametrize("steps", [1, 7, 60])
def test_an_epoch_may_be_any_number_of_steps(make, steps):
    sampler = make(steps=steps)
    assert len(sampler) == len(list(sampler)) == steps
    sampler.set_epoch(1)
    assert next(iter(sampler)) == list(make().batch(steps))


@every_batch_sampler
@pytest.mark.parametrize("workers", [0, 2])
def test_any_loader_takes_its_batches_from_a_sampler(make, workers):
    sampler = make()
    loader = DataLoader(torch.arange(200), batch_sampler=sampler, num_workers=workers)
    assert len(loader) == len(sampler)
    assert [batch.tolist() for batch in loader] == [list(batch) for batch in make()]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BalancedBatchSampler(torch.zeros(2, 2, 2), 1, 1), "labels"),
        (lambda: BalancedBatchSampler(torch.zeros(9).long(), 0, 1), "classes_per_batch"),
        (lambda: BalancedBatchSampler(torch.zeros(9).long(), 1, 0), "items_per_class"),
        (lambda: BalancedBatchSampler(torch.zeros(9).long(), 2, 5), "labels: expected at least 10 .* got 9"),
        (lambda: BalancedBatchSampler(torch.zeros(9).long(), 1, 1, labeled=torch.ones(3).bool()), "labeled"),
        (lambda: balanced(steps=0), "steps"),
        (lambda: balanced(rank=2, world_size=2), "rank"),
    ],
)
def test_bad_arguments_of_batch_samplers_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (torch.tensor([0, 1, -1, 1]), ValueError, "labels: expected .* got a negative one"),
        (torch.tensor([0.0, 1.0, torch.nan, 1.0]), TypeError, "expected integer class indices, got torch.float32"),
        (["jazz", "rock", "jazz", "rock"], TypeError, "labels: expected .* encode_labels"),
    ],
)
def test_labels_that_are_not_classes_are_named(labels, error, words):
    with pytest.raises(error, match=words):
        BalancedBatchSampler(labels, 1, 1)
    with pytest.raises(error, match=words):
        label_budget(labels, 0.5)
    with pytest.raises(error, match=words):
        SemiSupervisedBatchSampler(range(4), range(4, 9), 2, labels=labels, label_budget=0.5)


def test_labels_of_unlabeled_rows_are_ignored():
    known = torch.tensor([True, True, False, True])
    sampler = BalancedBatchSampler(torch.tensor([0, 1, -1, 1]), 2, 1, labeled=known, steps=6)
    assert {int(index) for batch in sampler for index in batch} == {0, 1, 3}


def test_bad_indices_are_named():
    for labeled, unlabeled, words in (
        (torch.ones(4, dtype=torch.bool), range(4, 9), "expected dataset indices"),
        ([0.5, 1.5], range(4, 9), "expected dataset indices"),
        ([-1, 2], range(4, 9), "expected dataset indices"),
        (range(5), range(4, 9), "labeled, unlabeled: .* got 1 in both, such as 4"),
    ):
        with pytest.raises(ValueError, match=words):
            SemiSupervisedBatchSampler(labeled, unlabeled, 2)


def test_a_state_of_other_items_or_shares_is_refused():
    state = SemiSupervisedBatchSampler(range(20), range(20, 99), 4, steps=9).state_dict(batches=3)
    for items, fraction in ((range(20), 0.25), (range(1, 21), 0.5)):
        other = SemiSupervisedBatchSampler(items, range(21, 99), 4, labeled_fraction=fraction, steps=9)
        with pytest.raises(ValueError, match="items_and_shares"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="state: expected a result of state_dict"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match="at least 0"):
        other.state_dict(batches=-1)
    labels = torch.arange(40) % 4
    state = BalancedBatchSampler(labels, 2, 4, steps=9).state_dict()
    with pytest.raises(ValueError, match="items_and_shares"):
        BalancedBatchSampler(labels, 4, 2, steps=9).load_state_dict(state)


numbers = [np.int64, np.int32, np.uint8, torch.tensor, lambda value: SampledIndex(value, True)]


@pytest.mark.parametrize("kind", numbers)
def test_seeds_are_equal_by_value_whatever_their_type(kind):
    assert label_budget(torch.arange(99), 0.3, kind(3)).tolist() == label_budget(torch.arange(99), 0.3, 3).tolist()
    for make in (balanced, mixed):
        plain = make(3)
        other = type(plain)(**arguments_of(make, kind), rank=kind(0), world_size=kind(1))
        assert other.batch(kind(2)) == plain.batch(2)
        other.load_state_dict(plain.state_dict(batches=2))
        assert type(other.state_dict()["seed"]) is int
        other.set_epoch(kind(1))
        assert next(iter(other)) == plain.batch(len(plain))


def arguments_of(make, kind):
    if make is balanced:
        labels = torch.randint(6, (200,), generator=generator(3))
        return {"labels": labels, "classes_per_batch": kind(3), "items_per_class": kind(4), "seed": kind(3)}
    sides = {"labeled": range(50), "unlabeled": range(50, 200)}
    return {**sides, "batch_size": kind(12), "labeled_fraction": np.float64(0.3), "seed": kind(3)}


@pytest.mark.parametrize("seed", [True, np.True_, 0.5, 3.0, None, torch.tensor(True)])
def test_a_seed_that_is_not_an_integer_is_rejected(seed):
    for make in (
        lambda: generator_for(seed, "a"),
        lambda: mixed(seed),
        lambda: label_budget(torch.arange(9), 0.5, seed),
    ):
        with pytest.raises(TypeError, match="expected a whole number, got"):
            make()


def test_plain_seeds_draw_the_numbers_that_they_always_drew():
    assert torch.randint(1000, (4,), generator=generator_for(3, "a", 7)).tolist() == [943, 867, 54, 260]
    assert generator_for(np.str_("a")).initial_seed() == generator_for("a").initial_seed()


def test_masks_may_be_lists_and_arrays_of_bool():
    labels, known = torch.arange(40) % 4, [number % 5 > 0 for number in range(40)]
    expected = BalancedBatchSampler(labels, 2, 2, labeled=torch.tensor(known)).batch(3)
    for mask in (known, np.array(known)):
        assert BalancedBatchSampler(labels, 2, 2, labeled=mask).batch(3) == expected
    for mask in (torch.ones(40), [1.0] * 40, "all"):
        with pytest.raises(TypeError, match="labeled: expected a mask of bool"):
            BalancedBatchSampler(labels, 2, 2, labeled=mask)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_labels_and_indices_may_be_unsigned(dtype):
    labels, items = torch.arange(40) % 4, torch.arange(40)
    options = {"batch_size": 8, "label_budget": 0.5}
    expected = SemiSupervisedBatchSampler(items, items + 40, labels=labels, **options).batch(2)
    got = SemiSupervisedBatchSampler(items.to(dtype), (items + 40).to(dtype), labels=labels.to(dtype), **options).batch(
        2
    )
    assert got == expected
    assert BalancedBatchSampler(labels.to(dtype), 2, 2).batch(1) == BalancedBatchSampler(labels, 2, 2).batch(1)


@pytest.mark.parametrize(
    ("labeled", "error", "words"),
    [
        ([True] * 40, ValueError, r"labeled: expected dataset indices, got a mask.*nonzero\(\)"),
        (torch.ones(40, dtype=torch.bool), ValueError, r"labeled: .*a mask.*nonzero\(\)"),
        (torch.ones(40), ValueError, r"labeled: .*torch\.float32"),
        (torch.arange(40).to("meta"), ValueError, "labeled: .*holds values.*meta"),
        (torch.arange(40).to_sparse(), ValueError, "labeled: .*dense"),
        ("tracks.csv", TypeError, "labeled: .*str"),
    ],
)
def test_what_are_no_indices_is_named(labeled, error, words):
    with pytest.raises(error, match=words):
        SemiSupervisedBatchSampler(labeled, range(40, 80), batch_size=8)


def test_a_batch_size_is_a_whole_number():
    for size in (8.0, "8", True):
        with pytest.raises(TypeError, match="batch_size: expected a whole number"):
            SemiSupervisedBatchSampler(range(40), range(40, 80), batch_size=size)


def test_states_of_a_sampler_with_other_pools_are_refused():
    one = SemiSupervisedBatchSampler(range(10), range(10, 40), 8)
    other = SemiSupervisedBatchSampler(range(11), range(11, 40), 8)
    with pytest.raises(ValueError, match="state: expected items_and_shares"):
        other.load_state_dict(one.state_dict(3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda sampler: sampler.state_dict(batches=1.5), "batches: expected an integer of at least 0, got 1.5"),
        (lambda sampler: sampler.set_epoch(-1), "epoch: expected an integer of at least 0, got -1"),
        (
            lambda sampler: sampler.load_state_dict(sampler.state_dict(2) | {"batches": -5}),
            "batches: expected an integer",
        ),
    ],
)
def test_positions_that_cannot_be_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(SemiSupervisedBatchSampler(range(10), range(10, 40), 8))


@pytest.mark.parametrize("odd", [0.5, 2.0, -1.0, float("nan")])
@pytest.mark.parametrize("sparse", [False, True])
def test_multi_hot_values_other_than_0_and_1_are_named(odd, sparse):
    rows = torch.eye(6)
    rows[2, 3] = odd
    labels = rows.to_sparse() if sparse else rows
    with pytest.raises(ValueError, match="labels: expected 0 or 1 in every labeled row of multi-hot labels, got"):
        label_budget(labels, 0.5)
    with pytest.raises(ValueError, match="labels: expected 0 or 1"):
        BalancedBatchSampler(labels, 2, 1)
    known = torch.arange(6) != 2
    BalancedBatchSampler(labels, 2, 1, labeled=known)  # what an unlabeled row holds does not matter


def test_seeds_and_fractions_of_a_budget_are_named():
    for options, error, words in (
        ({"seed": "3"}, TypeError, "seed: expected"),
        ({"seed": True}, TypeError, "seed: expected"),
        ({"share": "x"}, ValueError, "share: expected a fraction"),
    ):
        with pytest.raises(error, match=words):
            label_budget(torch.arange(4), **{"share": 0.5, **options})
