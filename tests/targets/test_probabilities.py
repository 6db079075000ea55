"""Targets whose labels are probabilities, such as those of a tagging model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssc_toolkit.data import encode_labels
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.targets import LabelOverlap, MaxTarget, SameClass, SharedLabels, TaggramCosine, Target

TARGETS = {
    "dice": LabelOverlap("dice"),
    "jaccard": LabelOverlap("jaccard", [1.0, 0.3, 7.0]),
    "overlap of labels above a threshold": LabelOverlap(threshold=0.5),
    "shared labels above a threshold": SharedLabels(2, threshold=0.5),
    "cosine": TaggramCosine(),
}
fractions = st.floats(0, 1, width=32)
tables = st.lists(st.tuples(fractions, fractions, fractions), min_size=1, max_size=5).map(torch.tensor)
by_name = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@by_name
@given(rows=tables, columns=tables)
def test_weights_are_fractions_and_symmetric(target: Target, rows, columns):
    weights = target(rows, columns)
    assert weights.shape == (len(rows), len(columns))
    assert ((weights >= 0) & (weights <= 1)).all()
    torch.testing.assert_close(weights, target(columns, rows).T)


@given(rows=tables, columns=tables, measure=st.sampled_from(["dice", "jaccard"]))
def test_overlap_is_that_of_fuzzy_sets(rows, columns, measure):
    by_class = [1.0, 0.25, 7.0]
    found = LabelOverlap(measure, torch.tensor(by_class).double()).forward_in(rows, columns, torch.float64)
    for i, one in enumerate(rows.tolist()):
        for j, other in enumerate(columns.tolist()):
            shared = sum(v * min(a, b) for v, a, b in zip(by_class, one, other, strict=True))
            least = sum(v * max(a, b) for v, a, b in zip(by_class, one, other, strict=True))
            whole = (shared + least) / 2 if measure == "dice" else least
            if whole > 1e-3:
                assert found[i, j].item() == pytest.approx(shared / whole, abs=1e-12)


@given(rows=tables)
def test_equal_rows_have_weight_one(rows):
    rows = rows[rows.sum(dim=1) > 1e-6]
    for name in ("dice", "jaccard", "cosine"):
        torch.testing.assert_close(TARGETS[name](rows, rows).diagonal(), torch.ones(len(rows)))


@given(rows=tables, columns=tables)
def test_threshold_makes_probabilities_multi_hot(rows, columns):
    hot = [(part >= 0.3).float() for part in (rows, columns)]
    for soft, hard in (
        (LabelOverlap("jaccard", threshold=0.3), LabelOverlap("jaccard")),
        (SharedLabels(2, threshold=0.3), SharedLabels(2)),
    ):
        assert torch.equal(soft(rows, columns), hard(*hot))


@given(seed=st.integers(0, 500))
def test_labels_without_overlap_are_negatives(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(5, 40, generator=generator) * torch.tensor([1.0, 0.0]).repeat(20)
    columns = rows.roll(1, dims=1)
    weights = torch.rand(40, generator=generator) + 0.1
    for target in (LabelOverlap("dice", weights), LabelOverlap("jaccard", weights), TaggramCosine()):
        assert not target(rows, columns).any()


def test_cosine_depends_on_ratios_alone():
    rows = torch.tensor([[0.8, 0.6, 0.0]])
    columns = torch.stack([rows[0] / 10, rows[0] * 1e-30, torch.zeros(3), torch.tensor([0.6, 0.0, 0.0])])
    torch.testing.assert_close(TaggramCosine()(rows, columns), torch.tensor([[1.0, 1.0, 0.0, 0.8]]))


@by_name
def test_rows_with_nan_are_unlabeled(target):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(6, 2, 8, generator=generator)
    labels = 0.5 + torch.rand(6, 3, generator=generator) / 2
    labels[4, 1] = labels[5] = math.nan
    criterion = SemiSupConLoss(target=target)
    expected = criterion(embeddings, labels.nan_to_num(), labeled=torch.arange(6) < 4)
    assert torch.equal(criterion(embeddings, labels), expected)
    assert torch.equal(criterion(embeddings, labels, labeled=torch.ones(6, dtype=torch.bool)), expected)
    assert not torch.equal(expected, criterion(embeddings, labels.nan_to_num()))


def test_nan_of_one_signal_leaves_the_others():
    target = MaxTarget({"tags": TaggramCosine(), "key": SameClass()})
    labels = {"tags": torch.tensor([[math.nan, 0.1], [0.2, 0.1], [0.2, 0.1]]), "key": torch.tensor([1, 1, 2])}
    known = target.known(labels, None)
    weights = target.weights(labels, labels, known, known)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))


def test_empty_cells_of_a_table_are_unlabeled(tmp_path):
    (tmp_path / "tags.csv").write_text("path,guitar,vocal\na.wav,0.9,0.1\nb.wav,,\nc.wav,0.8,0.1\nd.wav,0.9,0.2\n")
    labels = encode_labels(tmp_path / "tags.csv", ["guitar", "vocal"], kind="number")
    assert labels.labeled.tolist() == [True, False, True, True]
    embeddings = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(0))
    criterion = SemiSupConLoss(target=LabelOverlap())
    unknown = labels.values.masked_fill(~labels.labeled[:, None], math.nan)
    assert torch.equal(criterion(embeddings, labels.values, labeled=labels.labeled), criterion(embeddings, unknown))


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, math.nan])
@pytest.mark.parametrize("kind", [SharedLabels, LabelOverlap])
def test_threshold_out_of_range_is_an_error(kind, threshold):
    with pytest.raises(ValueError, match="threshold: expected"):
        kind(threshold=threshold)


@by_name
@pytest.mark.parametrize("value", [-0.1, 1.1, math.inf])
def test_values_that_are_no_probabilities_are_errors(target, value):
    labels = torch.full((4, 3), 0.5)
    labels[2, 1] = value
    with pytest.raises(ValueError, match=f"{type(target).__name__} expects 0 to 1"):
        target.check(labels, None)
    target.check(labels, torch.tensor([True, True, False, True]))
    with pytest.raises(ValueError, match="expects probabilities, shape"):
        target.check(labels[0], None)


def test_cosine_without_classes_is_an_error():
    with pytest.raises(ValueError, match="at least one class"):
        TaggramCosine().check(torch.ones(3, 0), None)
