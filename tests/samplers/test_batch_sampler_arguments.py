"""Arguments of the batch samplers: the types that they take, and those that they name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_kinds import balanced, mixed
from seeded import generator

from ssc_toolkit.samplers import BalancedBatchSampler, SampledIndex, SemiSupervisedBatchSampler, label_budget
from ssc_toolkit.seeds import make_generator


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
        ({"labeled": [0, 1, 1]}, "labeled: expected distinct .*, got 1 more than once"),
        ({"unlabeled": torch.tensor([7, 8, 7, 7])}, "unlabeled: expected distinct .*, got 2 more than once"),
    ],
)
def test_bad_arguments_of_the_batch_sampler_are_named(options, words):
    arguments = {"labeled": range(5), "unlabeled": range(5, 9), "batch_size": 2} | options
    with pytest.raises(ValueError, match=words):
        SemiSupervisedBatchSampler(**arguments)
    with pytest.raises(ValueError, match="fraction"):
        label_budget(torch.zeros(3), 1.5)


def test_indices_may_come_as_any_sequence_or_tensor():
    forms = (range(3, 40), list(range(3, 40)), torch.arange(3, 40), np.arange(3, 40))
    batches = [list(SemiSupervisedBatchSampler(form, range(40, 90), 8, seed=2).batch(5)) for form in forms]
    assert batches == [batches[0]] * 4


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


def test_bad_indices_are_named():
    for labeled, unlabeled, words in (
        (torch.ones(4, dtype=torch.bool), range(4, 9), "expected dataset indices"),
        ([0.5, 1.5], range(4, 9), "expected dataset indices"),
        ([-1, 2], range(4, 9), "expected dataset indices"),
        (range(5), range(4, 9), "labeled, unlabeled: .* got 1 in both, such as 4"),
    ):
        with pytest.raises(ValueError, match=words):
            SemiSupervisedBatchSampler(labeled, unlabeled, 2)


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
        lambda: make_generator(seed, "a"),
        lambda: mixed(seed),
        lambda: label_budget(torch.arange(9), 0.5, seed),
    ):
        with pytest.raises(TypeError, match="expected an integer, got"):
            make()


def test_plain_seeds_draw_the_numbers_that_they_always_drew():
    assert torch.randint(1000, (4,), generator=make_generator(3, "a", 7)).tolist() == [943, 867, 54, 260]
    assert make_generator(np.str_("a")).initial_seed() == make_generator("a").initial_seed()


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
        (torch.arange(40).to("meta"), ValueError, "labeled: expected a tensor that has values.*meta"),
        (torch.arange(40).to_sparse(), ValueError, "labeled: .*dense"),
        ("tracks.csv", TypeError, "labeled: .*str"),
    ],
)
def test_what_are_no_indices_is_named(labeled, error, words):
    with pytest.raises(error, match=words):
        SemiSupervisedBatchSampler(labeled, range(40, 80), batch_size=8)


def test_a_batch_size_is_a_whole_number():
    for size in (8.0, "8", True):
        with pytest.raises(TypeError, match="batch_size: expected an integer"):
            SemiSupervisedBatchSampler(range(40), range(40, 80), batch_size=size)


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
        ({"fraction": "x"}, ValueError, "fraction: expected a fraction"),
    ):
        with pytest.raises(error, match=words):
            label_budget(torch.arange(4), **{"fraction": 0.5, **options})
