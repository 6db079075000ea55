"""Labels of any magnitude and type in `RankNContrastLoss`."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from seeded import noise

from ssc_toolkit.losses import RankNContrastLoss, SemiSupConLoss
from ssc_toolkit.targets import GaussianKernel

NANOSECONDS = 1_700_000_000_000_000_000
HIGHEST = 2**63 - 1


def naive(embeddings, labels):
    """The mean loss by its definition; distances of labels as exact fractions."""
    rows, total = embeddings.double(), 0.0
    values = [Fraction(label) for label in labels]
    others = [[k for k in range(len(rows)) if k != i] for i in range(len(rows))]
    for i, mine in enumerate(others):
        terms = []
        for j in mine:
            far = [k for k in mine if abs(values[k] - values[i]) >= abs(values[j] - values[i])]
            similarity = -torch.linalg.vector_norm(rows[i] - rows, dim=1) / 2.0
            terms.append(torch.logsumexp(similarity[far], dim=0) - similarity[j])
        total += torch.stack(terms).mean()
    return total / len(rows)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([3e38, -3e38, 1e38, 0.0, 2.9e38], torch.float32),
        ([1e308, -1.5e308, 0.0, 1.7e308, 4e306], torch.float64),
        ([3e-42, 1e-42, 2.2e-42, 0.0, 9e-42], torch.float32),
        ([1e-310, 5e-310, 0.0, 4e-311, 2e-310], torch.float64),
        ([NANOSECONDS + step for step in (0, 1, 3, 8, 20)], torch.int64),
        ([-NANOSECONDS - step for step in (0, 1, 3, 8, 20)], torch.int64),
        ([HIGHEST, -HIGHEST - 1, 2**59, 2**62, -(2**60)], torch.int64),
        ([HIGHEST - step for step in (0, 1, 3, 8, 20)], torch.int64),
        ([65000.0, -65000.0, 100.0, 0.0, 4.0], torch.float16),
        ([250, 3, 255, 0, 90], torch.uint8),
    ],
)
@pytest.mark.parametrize("columns", [None, 1])
def test_labels_rank_at_any_magnitude(labels, dtype, columns):
    embeddings = 20 * noise(5, 1, 6)
    tensor = torch.tensor(labels, dtype=dtype)
    expected = naive(embeddings[:, 0], [value.item() for value in tensor])
    given = tensor if columns is None else tensor[:, None]
    torch.testing.assert_close(RankNContrastLoss()(embeddings, given).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_several_label_columns_rank_at_any_scale(dtype, scale):
    embeddings, labels = 20 * noise(8, 2, 6), noise(8, 3).to(dtype)
    expected = RankNContrastLoss()(embeddings, labels)
    torch.testing.assert_close(RankNContrastLoss()(embeddings, labels * scale), expected)


def test_distances_that_differ_by_rounding_are_ties():
    embeddings = 20 * noise(4, 1, 6)
    decimals = RankNContrastLoss()(embeddings, torch.tensor([0.1, 0.2, 0.3, 0.7]))
    torch.testing.assert_close(decimals, RankNContrastLoss()(embeddings, torch.tensor([1, 2, 3, 7])))
    later = torch.tensor([1, 2, 3, 7]) + NANOSECONDS
    torch.testing.assert_close(decimals, RankNContrastLoss()(embeddings, later))


def test_unlabeled_rows_hold_any_number():
    embeddings = 20 * noise(5, 2, 6)
    labeled = torch.tensor([True, True, False, True, True])
    expected = RankNContrastLoss()(embeddings, torch.tensor([1, 2, 0, 4, 9]), labeled=labeled)
    for odd in (-HIGHEST - 1, HIGHEST):
        found = RankNContrastLoss()(embeddings, torch.tensor([1, 2, odd, 4, 9]), labeled=labeled)
        torch.testing.assert_close(found, expected)
    for odd in (torch.nan, torch.inf, 3e38):
        found = RankNContrastLoss()(embeddings, torch.tensor([1.0, 2.0, odd, 4.0, 9.0]), labeled=labeled)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("columns", [None, 2])
def test_kernels_see_differences_of_large_integers(columns):
    small = torch.tensor([0, 1, 3, 8]) if columns is None else torch.tensor([[0, 5], [1, 2], [3, 3], [8, 0]])
    kernel = GaussianKernel(2.0)
    torch.testing.assert_close(kernel(small + NANOSECONDS, small + NANOSECONDS), kernel(small, small))
    loss = SemiSupConLoss(target=kernel)
    embeddings = noise(4, 2, 6)
    torch.testing.assert_close(loss(embeddings, small + NANOSECONDS), loss(embeddings, small))
