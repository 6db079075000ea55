"""Label budgets: nested, exact, covering, and small in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator

from ssc_toolkit.data.labels import Labels, list_classes_of_rows
from ssc_toolkit.samplers import BalancedBatchSampler, SemiSupervisedBatchSampler, label_budget, uncovered_classes

labelings = st.one_of(
    st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor),
    st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=1, max_size=60).map(torch.tensor),
)


@given(labels=labelings, seed=st.integers(0, 1000))
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


def test_a_multi_hot_budget_covers_every_class():
    labels = torch.zeros(100, 5)
    labels[:, 0] = 1
    labels[[10, 20, 30, 40], [1, 2, 3, 4]] = 1
    assert len(uncovered_classes(labels, label_budget(labels, 0.05))) == 0
    assert uncovered_classes(labels, torch.tensor([0, 10])).tolist() == [2, 3, 4]


@given(labels=labelings, share=st.sampled_from([0.05, 0.3, 0.7]), seed=st.integers(0, 100))
def test_a_budget_takes_the_first_item_of_each_class_first(labels, share, seed):
    rows = labels if labels.dim() == 2 else torch.nn.functional.one_hot(labels)
    order = label_budget(torch.zeros(len(rows), 0), 1.0, seed).tolist()  # without classes, the shuffle itself
    leads = {next(item for item in order if rows[item, name]) for name in range(rows.shape[1]) if rows[:, name].any()}
    expected = [item for item in order if item in leads] + [item for item in order if item not in leads]
    found = label_budget(labels, share, seed)
    assert found.tolist() == expected[: len(found)]


@pytest.mark.filterwarnings("ignore:Sparse")
def test_memory_grows_with_labels_not_with_classes():
    items, classes = 200_000, 50_000  # 80 GB as a table of int64
    labels = torch.randint(classes, (items,), generator=generator(0))
    tags = torch.sparse_coo_tensor(torch.stack([torch.arange(items), labels]), torch.ones(items), (items, classes))
    budget = label_budget(labels, 0.5)
    assert torch.equal(label_budget(tags, 0.5), budget)
    assert torch.equal(label_budget(tags.to_sparse_csr(), 0.5), budget)
    assert len(uncovered_classes(tags, budget)) == len(uncovered_classes(labels, budget)) == 0
    assert len(BalancedBatchSampler(tags, 8, 2).batch(3)) == 16
    assert len(SemiSupervisedBatchSampler(range(items), [], 8, label_budget=0.5, labels=tags).batch(3)) == 8


@pytest.mark.filterwarnings("ignore:Sparse")
def test_multi_hot_rows_of_any_layout_give_the_same_batches():
    tags = (torch.rand(300, 7, generator=generator(1)) < 0.2).float()
    known = torch.rand(300, generator=generator(2)) < 0.8
    known[~tags.any(1)] = False
    forms = [tags, tags.bool(), tags.to_sparse_coo(), tags.to_sparse_csr()]
    assert len({tuple(label_budget(form, 0.2).tolist()) for form in forms}) == 1
    assert len({tuple(BalancedBatchSampler(form, 3, 2, labeled=known).batch(4)) for form in forms}) == 1


def test_several_signals_cost_their_labels_not_their_classes():
    rows, classes = 100_000, 200_000  # 80 GB as dense rows
    known = torch.arange(rows) % 3 > 0
    signals = {
        "artist": Labels(torch.arange(rows) % classes, known, tuple(map(str, range(classes)))),
        "bpm": Labels(torch.zeros(rows, 1), known, ("bpm",), "number"),
        "key": Labels(torch.arange(rows) % 24, ~known, tuple(map(str, range(24)))),
    }
    found = list_classes_of_rows(signals)
    budget = label_budget(found.index_select(0, torch.arange(rows)), 0.5)
    assert found.shape == (rows, classes + 24)
    assert found.indices().shape[1] == rows
    assert len(budget) == rows // 2
    few = {name: signal[torch.arange(0, rows, 5000)] for name, signal in signals.items() if name != "artist"}
    dense = torch.nn.functional.one_hot(few["key"].values, 24).float() * few["key"].labeled[:, None]
    assert torch.equal(list_classes_of_rows(few).to_dense(), dense)
    assert torch.equal(label_budget(list_classes_of_rows(few), 0.3), label_budget(dense, 0.3))
