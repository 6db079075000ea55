"""Epochs of the batch samplers: their length, their order, and how they resume."""

from __future__ import annotations

import pytest
import torch
from sampler_kinds import every_batch_sampler
from torch.utils.data import DataLoader

from ssc_toolkit.samplers import BalancedBatchSampler, SemiSupervisedBatchSampler


@pytest.mark.slow
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


def test_a_state_of_other_items_or_shares_is_refused():
    state = SemiSupervisedBatchSampler(range(20), range(20, 99), 4, steps=9).state_dict(batches=3)
    for items, fraction in ((range(20), 0.25), (range(1, 21), 0.5)):
        other = SemiSupervisedBatchSampler(items, range(21, 99), 4, labeled_fraction=fraction, steps=9)
        with pytest.raises(ValueError, match="settings_hash"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="state: expected a result of state_dict"):
        other.load_state_dict({})
    with pytest.raises(TypeError, match="state: expected a result of state_dict"):
        other.load_state_dict(None)
    with pytest.raises(ValueError, match="at least 0"):
        other.state_dict(batches=-1)
    labels = torch.arange(40) % 4
    state = BalancedBatchSampler(labels, 2, 4, steps=9).state_dict()
    with pytest.raises(ValueError, match="settings_hash"):
        BalancedBatchSampler(labels, 4, 2, steps=9).load_state_dict(state)


def test_states_of_a_sampler_with_other_pools_are_refused():
    one = SemiSupervisedBatchSampler(range(10), range(10, 40), 8)
    other = SemiSupervisedBatchSampler(range(11), range(11, 40), 8)
    with pytest.raises(ValueError, match="state: expected settings_hash"):
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
