"""What targets refuse, and facts of theirs that the losses do not show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_reference import SIGNALS, random_batch

from ssc_toolkit.targets import (
    GaussianKernel,
    KeySimilarity,
    LabelOverlap,
    MaxTarget,
    SameClass,
    SharedLabels,
    SimilarityMatrix,
    TempoKernel,
    WeightedSum,
)


@given(seed=st.integers(0, 1000), kind=st.sampled_from(sorted(SIGNALS)), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_weights_are_what_the_definition_says_block_by_block(seed, kind, share):
    _, signal = random_batch(seed, 6, 1, 2, share, kind)
    if not isinstance(signal.target, torch.nn.Module):
        return

    def part(value, rows):
        return {k: v[rows] for k, v in value.items()} if isinstance(value, dict) else value[rows]

    rows, columns = torch.tensor([1, 4]), torch.tensor([0, 1, 2, 5])
    blocks = [part(value, chosen) for value in signal[:2] for chosen in (rows, columns)]
    weights = signal.target.weights(*blocks)
    assert weights.shape == (2, 4)
    expected = [[signal.weight(i, j) for j in columns.tolist()] for i in rows.tolist()]
    torch.testing.assert_close(weights.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)
    assert ((weights >= 0) & (weights <= 1 + 1e-6)).all()


def test_key_weights_are_those_of_mirex():
    c_major, a_minor, c_minor = 0, 9 + 12, 0 + 12
    weights = KeySimilarity().matrix
    assert weights[c_major, [c_major, 7, 5, a_minor, c_minor, 2, 7 + 12]].tolist() == pytest.approx(
        [1.0, 0.5, 0.5, 0.3, 0.2, 0.0, 0.0]
    )
    assert weights[a_minor, [4 + 12, 2 + 12, c_major, 9]].tolist() == pytest.approx([0.5, 0.5, 0.3, 0.2])
    for kernel in ("mirex", "fifths"):
        matrix = KeySimilarity(kernel).matrix
        torch.testing.assert_close(matrix, matrix.T)
        for shift in range(12):  # transposing both keys changes nothing
            moved = (torch.arange(24) % 12 + shift) % 12 + torch.arange(24) // 12 * 12
            torch.testing.assert_close(matrix[moved][:, moved], matrix)


def test_half_and_double_tempo():
    tempo = torch.tensor([60.0, 120.0, 90.0])
    blind = TempoKernel(0.1, octave_blind=True)(tempo, tempo)
    assert blind[0, 1] == 1
    assert blind[0, 2] < 1e-3
    assert TempoKernel(0.1)(tempo, tempo)[0, 1] < 1e-3


def test_what_moves_with_a_target_and_what_is_saved():
    target = MaxTarget({"matrix": SimilarityMatrix(torch.eye(3)), "tags": LabelOverlap("dice", [1.0, 2.0])})
    assert target.state_dict() == {}
    assert target.double().targets[0].matrix.dtype == torch.float64


@pytest.mark.parametrize("kind", sorted(set(SIGNALS) - {"function"}))
def test_weights_are_as_precise_as_the_loss(kind):
    _, signal = random_batch(4, 6, 1, 2, 0.8, kind)
    weights = signal.target.weights(signal.labels, signal.labels, signal.labeled, signal.labeled, torch.float64)
    expected = torch.tensor([[signal.weight(i, j) for j in range(6)] for i in range(6)], dtype=torch.float64)
    torch.testing.assert_close(weights.double(), expected, rtol=1e-14, atol=1e-14)


def test_precise_weights_of_labels_in_single_precision():
    """Labels are taken for what they are, and the rest is computed in double precision."""
    tempi = torch.tensor([60.0, 61.7, 119.3])
    expected = TempoKernel(0.1).weights(tempi.double(), tempi.double(), None, None, torch.float64)
    assert torch.equal(TempoKernel(0.1).weights(tempi, tempi, None, None, torch.float64), expected)
    assert TempoKernel(0.1)(tempi, tempi).dtype == torch.float32


def test_a_union_keeps_the_fractions_beside_functions_of_bools():
    target = MaxTarget({"same": lambda rows, columns: rows[:, None] == columns, "key": KeySimilarity()})
    labels = {"same": torch.tensor([0, 1]), "key": torch.tensor([0, 7])}
    expected = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    known = torch.ones(2, dtype=torch.bool)
    torch.testing.assert_close(target(labels, labels), expected)
    torch.testing.assert_close(target.weights(labels, labels, known, known), expected)


four = torch.ones(4, dtype=torch.bool)
whole = torch.arange(4)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SharedLabels(minimum=0), ValueError, "minimum"),
        (lambda: SharedLabels(minimum=1.5), TypeError, "minimum"),
        (lambda: SharedLabels(minimum="1"), TypeError, "minimum"),
        (lambda: LabelOverlap("overlap"), ValueError, "measure"),
        (lambda: LabelOverlap("dice", [1.0, 0.0]), ValueError, "class_weights"),
        (lambda: LabelOverlap("dice", [[1.0]]), ValueError, "class_weights"),
        (lambda: GaussianKernel(0), ValueError, "bandwidth"),
        (lambda: GaussianKernel(float("inf")), ValueError, "bandwidth"),
        (lambda: TempoKernel(-1), ValueError, "bandwidth_octaves"),
        (lambda: KeySimilarity("circle"), ValueError, "kernel"),
        (lambda: KeySimilarity("fifths", 0), ValueError, "bandwidth_fifths"),
        (lambda: SimilarityMatrix(torch.ones(2, 3)), ValueError, "matrix"),
        (lambda: SimilarityMatrix(torch.ones(2, 2) * 2), ValueError, "matrix"),
        (lambda: SimilarityMatrix(torch.full((2, 2), torch.nan)), ValueError, "matrix"),
        (lambda: SimilarityMatrix(torch.ones(2, 2).long()), TypeError, "matrix"),
        (lambda: MaxTarget({}), ValueError, "targets"),
        (lambda: MaxTarget({"a": 3}), TypeError, "target"),
        (lambda: WeightedSum({"a": (SameClass(), 0.7), "b": (SameClass(), 0.7)}), ValueError, "sum"),
        (lambda: WeightedSum({"a": (SameClass(), 0.0)}), ValueError, "positive"),
        (lambda: GaussianKernel(1.0).check(torch.ones(4, 2, 2), four), ValueError, "labels"),
        (lambda: GaussianKernel(1.0).check(torch.full((4,), torch.nan), four), ValueError, "finite"),
        (lambda: TempoKernel(1.0).check(whole.float(), four), ValueError, "positive"),
        (lambda: TempoKernel(1.0).check(torch.ones(4, 1), four), ValueError, "labels"),
        (lambda: KeySimilarity().check(whole + 21, four), ValueError, "0 to 23"),
        (lambda: KeySimilarity().check(whole.float(), four), TypeError, "integer"),
        (lambda: LabelOverlap("dice", [1.0, 2.0]).check(torch.ones(4, 3), four), ValueError, "2 classes"),
        (lambda: LabelOverlap().check(torch.full((4, 3), 1.5), four), ValueError, "0 to 1"),
        (lambda: SharedLabels().check(torch.full((4, 3), 0.5), four), ValueError, "0 or 1"),
    ],
)
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("target", [GaussianKernel(1.0), TempoKernel(1.0), KeySimilarity(), LabelOverlap()])
def test_unlabeled_rows_may_hold_anything(target):
    bad = {GaussianKernel: torch.nan, TempoKernel: -1.0, KeySimilarity: 999, LabelOverlap: torch.nan}[type(target)]
    labels = torch.ones((4, 3) if isinstance(target, LabelOverlap) else (4,))
    labels = labels.long() if isinstance(target, KeySimilarity) else labels
    labels[2:] = bad
    known = torch.tensor([True, True, False, False])
    target.check(labels, known)
    weights = target.weights(labels, labels, known, known)
    assert (weights[:2, :2] == 1).all()
    assert (weights[2:] == 0).all()
    assert (weights[:, 2:] == 0).all()
