"""The labeled flag survives wrappers and workers, and streams mix at a fixed fraction."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset

from ssc_toolkit.samplers import MixedStream, SemiSupervisedBatchSampler, with_labeled


class Items:
    def __getitem__(self, index):
        assert type(index) is int  # as strict as Hugging Face datasets
        return {"item": index}

    def __len__(self):
        return 40


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("wrap", [lambda items: items, lambda i: Subset(i, range(40)), lambda i: ConcatDataset([i])])
def test_wrapped_datasets_keep_the_labeled_flag(wrap, workers):
    sampler = SemiSupervisedBatchSampler(range(10), range(10, 40), 8, labeled_fraction=0.25)
    loader = DataLoader(with_labeled(wrap(Items())), batch_sampler=sampler, num_workers=workers)
    batches = 0
    for number, (items, labeled) in enumerate(loader):
        expected = sampler.batch(number)
        assert labeled.dtype == torch.bool
        assert labeled.tolist() == [index.labeled for index in expected]
        assert items["item"].tolist() == [int(index) for index in expected]
        batches += 1
    assert batches == len(sampler)


def test_a_list_of_indices_gives_a_batch_with_flags():
    sampler = SemiSupervisedBatchSampler(range(10), range(10, 40), 8)
    loader = DataLoader(with_labeled(torch.arange(40)), sampler=sampler, batch_size=None)
    items, labeled = next(iter(loader))
    assert labeled.tolist() == [True] * 4 + [False] * 4
    assert ((items < 10) == labeled).all()
    assert with_labeled(torch.arange(40))[3] == (torch.tensor(3), True)


class Stream(IterableDataset):
    def __init__(self, begin, end):
        self.span = range(begin, end)

    def __iter__(self):
        return iter(self.span)


@given(fraction=st.floats(0, 1), count=st.integers(1, 300), start=st.integers(0, 100))
def test_a_mixed_stream_holds_its_fraction_and_resumes(fraction, count, start):
    streams = Stream(0, 7), Stream(100, 113)
    mixed = list(itertools.islice(MixedStream(*streams, fraction, cycle=True), count + start))
    for number in range(1, len(mixed)):
        assert abs(sum(flag for _, flag in mixed[:number]) - fraction * number) < 1 + 1e-6
    assert all((item < 100) == flag for item, flag in mixed)
    resumed = itertools.islice(MixedStream(*streams, fraction, cycle=True, start=start), count)
    assert list(resumed) == mixed[start:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixed_stream_in_workers_gives_each_item_once(workers):
    stream = MixedStream(Stream(0, 20), Stream(100, 120), 0.5, split_workers=True)
    found = [
        pair for items, flags in DataLoader(stream, 4, num_workers=workers) for pair in zip(items, flags, strict=True)
    ]
    assert sorted(int(item) for item, _ in found) == [*range(20), *range(100, 120)]
    assert all((item < 100) == flag for item, flag in found)


def test_wrong_streams_and_datasets_are_named():
    with pytest.raises(ValueError, match="labeled_fraction"):
        MixedStream([], [], 2)
    with pytest.raises(ValueError, match="start"):
        MixedStream([], [], start=-1)
    with pytest.raises(ValueError, match="got an empty one"):
        next(iter(MixedStream([], [], cycle=True)))
    with pytest.raises(TypeError, match="__getitem__"):
        with_labeled(3)
