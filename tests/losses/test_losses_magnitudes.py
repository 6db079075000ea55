"""Rows of any magnitude that their dtype holds count as rows of length 1 do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssc_toolkit.evaluation.retrieval.neighbors import normalize_rows
from ssc_toolkit.losses import NTXentLoss, RankNContrastLoss, SemiSupConLoss, contrastive_statistics
from ssc_toolkit.losses.unit_length import unit_length

labels = torch.tensor([0, 0, 1, 1, 2, 3])
magnitudes = {
    torch.float32: [1e-45, 1e-44, 1e-41, 1e-38, 1e-30, 1e-23, 1.0, 1e19, 1e30, 1e38],
    torch.float64: [5e-324, 1e-310, 1e-300, 1e-160, 1e160, 1e300, 1e308],
    torch.bfloat16: [1e-40, 1e-38, 1e38],
    torch.float16: [6e-8, 1e-6, 6e4],
}
cases = pytest.mark.parametrize(("dtype", "magnitude"), [(d, m) for d, ms in magnitudes.items() for m in ms])


def rows(dtype, magnitude):
    """Embeddings of one magnitude, and the same of magnitude 1 in float64, as far as the dtype tells them apart."""
    directions = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions /= directions.abs().amax()
    small = (directions * magnitude).to(dtype)
    return small, small.double() / magnitude


@cases
@pytest.mark.parametrize("implementation", ["dense", "tiled"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_value_and_gradient_at_any_magnitude(dtype, magnitude, implementation, reduction):
    embeddings, exact = rows(dtype, magnitude)
    embeddings.requires_grad_()
    exact.requires_grad_()
    loss = SemiSupConLoss(implementation=implementation, reduction=reduction)(embeddings, labels)
    expected = SemiSupConLoss(implementation="dense", reduction=reduction)(exact, labels)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    loss.sum().backward()
    expected.sum().backward()
    assert embeddings.grad.isfinite().all()
    # Gradients grow as 1 / magnitude. Those that the dtype cannot hold keep their direction.
    held = exact.grad.abs().amax(-1, keepdim=True) < torch.finfo(dtype).max / 4 * magnitude
    gradient = embeddings.grad.double() * magnitude
    precision = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(dtype, 1e-4)
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps * magnitude
    close = {"rtol": precision, "atol": precision * exact.grad.abs().max().item() + 2 * smallest}
    torch.testing.assert_close(torch.where(held, gradient, 0), torch.where(held, exact.grad, 0), **close)
    has_direction = exact.grad.abs().amax(-1) > 0
    cosine = torch.cosine_similarity(unit_length(embeddings.grad).double(), unit_length(exact.grad), dim=-1)
    if magnitude < 1e30:  # smaller gradients have few digits left
        assert (cosine[has_direction] > 0.99).all()


@given(exponents=st.lists(st.integers(-140, 126), min_size=12, max_size=12))
def test_each_row_may_have_its_own_magnitude(exponents):
    directions = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(1))
    directions = (directions / directions.abs().amax(-1, keepdim=True)).double()
    scaled = (directions * 2.0 ** torch.tensor(exponents, dtype=torch.float64).view(6, 2, 1)).float()
    seen = torch.nn.functional.normalize(scaled.double(), dim=-1, eps=1e-300)
    assert SemiSupConLoss()(scaled, labels).item() == pytest.approx(SemiSupConLoss()(seen, labels).item(), rel=1e-4)


def test_usual_magnitudes_keep_their_bits():
    vectors = torch.randn(50, 16)
    expected = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    torch.testing.assert_close(unit_length(vectors), expected, rtol=2e-7, atol=0)
    for power in (-100, -20, 20, 100):
        assert torch.equal(unit_length(vectors * 2.0**power), unit_length(vectors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_zero_rows_stay_zero_and_get_no_gradient(dtype):
    vectors = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    unit = unit_length(vectors)
    unit.sum().backward()
    assert (unit == 0).all()
    assert (vectors.grad == 0).all()
    assert unit_length(torch.tensor([[1.0, torch.nan], [1.0, torch.inf]])).isnan().any(dim=-1).all()


@pytest.mark.parametrize("magnitude", [1e-20, 1e20])
def test_second_derivatives_and_torch_func_at_any_magnitude(magnitude):
    vectors = (torch.randn(3, 4, dtype=torch.float64) * magnitude).requires_grad_()

    def loss(relative):
        return SemiSupConLoss(implementation="dense")((relative * magnitude)[:, None], torch.tensor([0, 0, 1]))

    relative = (vectors / magnitude).detach().requires_grad_()
    assert torch.autograd.gradgradcheck(loss, relative)
    hessian = torch.func.hessian(loss)(relative.detach())
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(loss, relative))
    each = torch.func.vmap(unit_length)(vectors[None].expand(2, 3, 4))
    torch.testing.assert_close(each[1], unit_length(vectors))


def test_derivatives_in_forward_mode():
    vectors = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_length, vectors, check_forward_ad=True, check_batched_forward_grad=True)
    assert torch.autograd.gradgradcheck(unit_length, vectors, check_fwd_over_rev=True)


@pytest.mark.slow
def test_compiled_rows_of_any_magnitude():
    compiled = torch.compile(unit_length, fullgraph=True)
    for magnitude in (1e-38, 1.0, 1e38):
        vectors = (torch.rand(5, 8) * magnitude).requires_grad_()
        unit = compiled(vectors)
        torch.testing.assert_close(unit, unit_length(vectors))
        (unit * torch.arange(8.0)).sum().backward()
        assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("magnitude", [1e-44, 1e-30, 1e30, 1e38])
def test_statistics_and_retrieval_at_any_magnitude(magnitude):
    embeddings, exact = rows(torch.float32, magnitude)
    found, expected = (contrastive_statistics(z, labels) for z in (embeddings, exact))
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name
    for dtype in (np.float32, np.float64):
        unit = normalize_rows(embeddings[:, 0].numpy().astype(dtype))
        assert unit.dtype == np.float32
        np.testing.assert_allclose(unit, unit_length(exact[:, 0]).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("magnitude", [1e-36, 1e-25, 1e20, 1e30])
def test_rank_n_contrast_at_any_magnitude(magnitude):
    """Its distances scale with the embeddings, so the temperature does too."""
    embeddings, exact = rows(torch.float32, magnitude)
    embeddings.requires_grad_()
    exact.requires_grad_()
    loss = RankNContrastLoss(2.0 * magnitude)(embeddings, labels.float())
    expected = RankNContrastLoss(2.0)(exact, labels.float())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(embeddings.grad.double() * magnitude, exact.grad, rtol=1e-4, atol=1e-5)


def test_magnitude_of_the_keys_and_of_anchors_apart():
    queries, keys = torch.randn(2, 6, 1, 8)
    expected = NTXentLoss()(queries, keys=keys)
    torch.testing.assert_close(NTXentLoss()(queries * 1e-30, keys=keys * 1e30), expected)
