"""Losses in half precision, under autocast and at low temperature."""

from __future__ import annotations

import pytest
import torch
from loss_batches import implementations
from loss_reference import random_batch

from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import KeySimilarity, LabelOverlap

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("kind", ["random", "identical views", "all equal", "orthogonal views"])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_finite_and_near_float64(implementation, dtype, temperature, kind, autocast):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(6, 2, 16, generator=generator)
    if kind == "identical views":
        embeddings[:, 1] = embeddings[:, 0]
    elif kind == "all equal":
        embeddings[:] = embeddings[0, 0]
    elif kind == "orthogonal views":
        embeddings = torch.eye(16)[:12].reshape(6, 2, 16).clone()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    half = embeddings.to(dtype).requires_grad_()
    exact = half.detach().double().requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        loss = semi_supcon_loss(half, labels, temperature=temperature, implementation=implementation)
    expected = semi_supcon_loss(exact, labels, temperature=temperature, implementation="dense")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    loss.backward()
    expected.backward()
    largest = exact.grad.abs().max()
    assert half.grad.isfinite().all()
    # One unit in the last place of the dtype, relative to the largest gradient.
    assert (half.grad.double() - exact.grad).abs().max() <= largest * torch.finfo(dtype).eps + 1e-5


def test_contradicting_clusters_keep_their_gradient():
    """Positives far apart: where log(p + tiny) has no gradient left, this has that of logsumexp."""
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.01], [1.0, 0.02], [-1.0, 0.0]], dtype=torch.float64)[:, None]
    labels = torch.tensor([0, 0, 1, 1])
    for temperature in (0.05, 0.01):
        single = embeddings.float().requires_grad_()
        double = embeddings.clone().requires_grad_()
        semi_supcon_loss(single, labels, temperature=temperature).backward()
        semi_supcon_loss(double, labels, temperature=temperature, implementation="dense").backward()
        torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-4)
        assert double.grad.norm() > 0.1 / temperature * 0.01


def test_autocast_does_not_lower_the_precision_of_similarities():
    made = random_batch(5, 6, 2, 16, 0.5)
    embeddings = made.embeddings.float()
    expected = semi_supcon_loss(embeddings, **made.signal.given, temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = semi_supcon_loss(embeddings, **made.signal.given, temperature=0.01)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_nor_does_it_that_of_the_gradients_of_tiles(reduction):
    """Also where backward() is called within autocast; autograd's own, of the dense form, then computes in bfloat16."""
    made = random_batch(5, 6, 2, 16, 0.5)
    gradients = []
    for enabled in (False, True):
        embeddings = made.embeddings.float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            criterion = SemiSupConLoss(0.05, reduction=reduction, implementation="tiled")
            criterion(embeddings, **made.signal.given).sum().backward()
        gradients.append(embeddings.grad)
    torch.testing.assert_close(*gradients)


@implementations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_row_of_zeros_gets_no_gradient_and_spoils_no_other(implementation, dtype):
    embeddings = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    embeddings[0] = 0
    embeddings.requires_grad_()
    semi_supcon_loss(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), implementation=implementation).backward()
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad[0] == 0).all()
    assert embeddings.grad.abs().max() < 10


def test_modules_of_other_dtypes_read_the_same_labels():
    tags = torch.tensor([[1, 0], [1, 1]] * 3)
    keys = torch.tensor([0, 7, 0, 9, 1, 0], dtype=torch.uint8)
    for dtype in (torch.float64, torch.float16):
        embeddings = torch.randn(6, 2, 8).to(dtype)
        for target, labels in ((LabelOverlap("dice", [1.0, 2.0]), tags), (KeySimilarity(), keys)):
            expected = SemiSupConLoss(target=target)(embeddings, labels)
            got = SemiSupConLoss(target=target).to(dtype)(embeddings, labels)
            torch.testing.assert_close(got, expected, rtol=2e-3, atol=2e-3)
