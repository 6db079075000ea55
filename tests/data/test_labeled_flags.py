"""The labeled flag survives wrappers and workers, and streams mix at a fixed fraction."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, get_worker_info

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


class PlacedStream(Stream):
    """Keeps its place itself, and counts the items that are read."""

    place = 0
    read = 0

    def __iter__(self):
        place, self.place = self.place, 0
        for number, item in enumerate(self.span[place:], start=place + 1):
            self.place = number
            self.read += 1
            yield item
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


@pytest.mark.parametrize("first", [Stream, PlacedStream])
@pytest.mark.parametrize("second", [Stream, PlacedStream])
@given(fraction=st.floats(0, 1), done=st.integers(0, 60), start=st.integers(0, 9), cycle=st.booleans())
def test_a_mixed_stream_resumes_by_its_state(first, second, fraction, done, start, cycle):
    def made():
        return MixedStream(first(0, 7), second(100, 113), fraction, cycle=cycle, start=start)

    whole = list(itertools.islice(made(), done + 40))
    stream = made()
    assert list(itertools.islice(stream, done)) == whole[:done]
    state = copy.deepcopy(stream.state_dict())
    resumed = made()
    resumed.load_state_dict(state)
    assert list(itertools.islice(resumed, max(0, len(whole) - done))) == whole[done:]
    assert list(itertools.islice(made(), 5)) == whole[:5]


def test_a_stream_with_a_state_is_not_read_again():
    def made():
        return MixedStream(PlacedStream(0, 1000), PlacedStream(5000, 6000), 0.25, cycle=True)

    stream = made()
    list(itertools.islice(stream, 400))
    resumed = made()
    resumed.load_state_dict(stream.state_dict())
    assert list(itertools.islice(resumed, 4)) == [(5300, False), (5301, False), (5302, False), (100, True)]
    assert [side.read for side in resumed.streams.values()] == [1, 3]


class WithState(IterableDataset):
    """What a loader that keeps states does in each worker: the state of the dataset next to each item."""

    def __init__(self, stream, states=None):
        self.stream, self.states = stream, states

    def __iter__(self):
        worker = get_worker_info()
        if self.states is not None:
            self.stream.load_state_dict(self.states[worker.id])
        for item, flag in self.stream:
            yield int(item), flag, worker.id, self.stream.state_dict()


@pytest.mark.parametrize("kind", [Stream, PlacedStream])
def test_workers_that_split_a_stream_resume_by_their_states(kind):
    def read(states=None):
        stream = MixedStream(kind(0, 21), kind(100, 121), 0.5, split_workers=True)
        return list(DataLoader(WithState(stream, states), batch_size=None, num_workers=2))

    whole = read()
    states = {worker: state for _, _, worker, state in whole[:14]}
    assert states.keys() == {0, 1}
    resumed = read(states)
    assert [row[:3] for row in resumed] == [row[:3] for row in whole[14:]]


@pytest.mark.parametrize(
    "state", [None, {}, {"items": 3}, {"items": -1, "streams": {}}, {"items": 1, "streams": {"x": 1}}]
)
def test_a_foreign_state_of_a_mixed_stream_is_refused(state):
    with pytest.raises(ValueError, match=r"state: .*expected"):
        MixedStream([1], [2]).load_state_dict(state)


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
