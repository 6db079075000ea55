"""Promises of the view and batch samplers."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssc_toolkit.samplers import (
    AdjacentSegments,
    RandomSegments,
    SemiSupervisedBatchSampler,
    label_budget,
    uncovered_classes,
)

lengths = st.lists(st.integers(1, 2000), min_size=1, max_size=8).map(torch.tensor)
TEN_HOURS = 10 * 3600 * 48000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sampler", [AdjacentSegments(), RandomSegments()])
@given(tracks=lengths, view=st.integers(1, 500), views=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_views_lie_inside_their_track(sampler, tracks, view, views, seed):
    starts = sampler(tracks, view, views, generator(seed))
    assert starts.shape == (len(tracks), views)
    assert (starts >= 0).all()
    assert (starts <= (tracks - view).clamp(min=0)[:, None]).all()
    assert torch.equal(starts, sampler(tracks, view, views, generator(seed)))


@given(tracks=lengths, view=st.integers(1, 500), views=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_adjacent_segments_touch_without_overlap_where_there_is_room(tracks, view, views, seed):
    starts = AdjacentSegments()(tracks, view, views, generator(seed))
    roomy = tracks >= view * views
    assert (starts.diff(dim=1)[roomy] == view).all()
    # Without room they overlap evenly, from the beginning to the end of the track.
    cramped = starts[~roomy & (tracks > view)]
    if views > 1:
        assert (cramped[:, 0] == 0).all()
        assert (cramped[:, -1] == (tracks - view)[~roomy & (tracks > view)]).all()
        assert (cramped.diff(dim=1).amax(1) - cramped.diff(dim=1).amin(1) <= 1).all()


def test_adjacent_segments_reach_both_ends_of_a_track_and_of_a_very_long_one():
    starts = AdjacentSegments()(torch.full((4000,), 103), 50, 2, generator(0))
    assert set(starts[:, 0].tolist()) == {0, 1, 2, 3}
    long = AdjacentSegments()(torch.full((1000,), TEN_HOURS), 129600, 2, generator(0))
    assert long.min() < TEN_HOURS * 0.01
    assert long.max() > TEN_HOURS * 0.99 - 129600


def test_a_track_exactly_as_long_as_its_views():
    assert AdjacentSegments()(torch.tensor([300]), 100, 3, generator(0)).tolist() == [[0, 100, 200]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.tensor([[5]]), 1, 1), "track_lengths"),
        ((torch.tensor([5.0]), 1, 1), "track_lengths"),
        ((torch.tensor([5]), 0, 1), "view_length"),
        ((torch.tensor([5]), 1, 0), "views"),
    ],
)
def test_view_samplers_refuse_nonsense(arguments, words):
    with pytest.raises(ValueError, match=words):
        AdjacentSegments()(*arguments)


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


@given(labeled=st.integers(9, 50), batch_size=st.integers(1, 3), seed=st.integers(0, 1000))
def test_a_side_is_gone_through_in_rounds(labeled, batch_size, seed):
    sampler = make((labeled, 0), batch_size, 1.0, seed)
    rounds = 3
    dealt = [int(i) for number in range(math.ceil(rounds * labeled / batch_size)) for i in sampler.batch(number)]
    assert set(Counter(dealt[: rounds * labeled]).values()) == {rounds}


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
    sampler.set_epoch(1)
    assert list(sampler) == [sampler.batch(number) for number in range(18, 36)]
    assert list(sampler) != batches


def test_without_others_the_labelled_items_return_with_hidden_labels():
    batch = make((20, 0), 8, 0.5).batch(0)
    assert [index.labeled for index in batch] == [True] * 4 + [False] * 4
    assert all(0 <= index < 20 for index in batch)


def test_what_is_outside_the_budget_joins_the_unlabelled_pool():
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
    assert batches == [[10 * index for index in batch] for batch in sampler]


labellings = st.one_of(
    st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor),
    st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=1, max_size=60).map(torch.tensor),
)


@given(labels=labellings, seed=st.integers(0, 1000))
def test_budgets_are_nested_exact_and_cover_classes_first(labels, seed):
    count = len(labels)
    previous: set[int] = set()
    for share in (0.01, 0.05, 0.1, 0.5, 1.0):
        budget = label_budget(labels, share, seed)
        assert len(budget) == max(1, round(share * count))
        assert previous <= set(budget.tolist())
        previous = set(budget.tolist())
        if labels.dim() == 1:
            classes = len(labels.unique())
            assert len(labels[budget].unique()) == min(classes, len(budget))
            assert len(uncovered_classes(labels, budget)) == classes - min(classes, len(budget))
    assert previous == set(range(count))
    assert len(uncovered_classes(labels, label_budget(labels, 1.0, seed))) == 0


def test_a_multi_hot_budget_covers_every_class_with_as_many_items_as_classes():
    labels = torch.zeros(100, 5)
    labels[:, 0] = 1
    labels[[10, 20, 30, 40], [1, 2, 3, 4]] = 1
    assert len(uncovered_classes(labels, label_budget(labels, 0.05))) == 0
    assert uncovered_classes(labels, torch.tensor([0, 10])).tolist() == [2, 3, 4]


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
def test_the_batch_sampler_refuses_nonsense(options, words):
    arguments = {"labeled": range(5), "unlabeled": range(5, 9), "batch_size": 2} | options
    with pytest.raises(ValueError, match=words):
        SemiSupervisedBatchSampler(**arguments)
    with pytest.raises(ValueError, match="share"):
        label_budget(torch.zeros(3), 1.5)
