"""Hard negatives and weighted positives, against their papers and another library."""

from __future__ import annotations

import math

import pytest
import torch
from loss_batches import implementations

from ssc_toolkit.losses import NTXentLoss, SemiSupConLoss
from ssc_toolkit.targets import GaussianKernel

pytestmark = pytest.mark.usefixtures("small_tiles")


def robinson(first, second, temperature, beta, tau_plus):
    """The estimator of the paper for pairs of views, from its equations, without logarithms."""
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    count = 2 * len(first) - 2
    exponentials = torch.exp(rows @ rows.T / temperature)
    place = torch.arange(len(rows))
    other = place.roll(len(first))
    positive = exponentials[place, other]
    is_negative = torch.ones_like(exponentials, dtype=torch.bool)
    is_negative[place, place] = is_negative[place, other] = False
    negatives = exponentials[is_negative].view(len(rows), count)
    importance = negatives**beta
    reweighted = (importance * negatives).sum(1) / importance.mean(1)
    estimate = (reweighted - tau_plus * count * positive) / (1 - tau_plus)
    return -torch.log(positive / (positive + estimate.clamp(min=count * math.exp(-1 / temperature)))).mean()


@implementations
@pytest.mark.parametrize(("beta", "tau_plus"), [(1.0, 0.1), (2.0, 0.0), (0.0, 0.1), (1.0, 0.7)])
def test_hard_negatives_as_robinson_et_al_define_them(implementation, beta, tau_plus):
    first, second = torch.randn(2, 9, 6, dtype=torch.float64).requires_grad_()
    views = torch.stack([first, second], dim=1)
    criterion = NTXentLoss(0.5, beta=beta, tau_plus=tau_plus, implementation=implementation)
    got, expected = criterion(views), robinson(first, second, 0.5, beta, tau_plus)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(loss, (first, second), retain_graph=True) for loss in (got, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@implementations
def test_more_concentration_looks_at_fewer_negatives(implementation):
    embeddings = torch.randn(16, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    losses = [NTXentLoss(0.5, beta=beta, implementation=implementation)(embeddings) for beta in (0.0, 0.5, 2.0, 500.0)]
    assert losses == sorted(losses)
    torch.testing.assert_close(losses[0], NTXentLoss(0.5)(embeddings))
    rows = torch.nn.functional.normalize(embeddings.flatten(0, 1), dim=1)
    s = rows @ rows.T / 0.5
    item = torch.arange(32) // 2
    hardest = s.masked_fill(item[:, None] == item, -torch.inf).amax(1)
    positive = s[torch.arange(32), torch.arange(32) ^ 1]
    expected = (torch.logaddexp(positive, math.log(30) + hardest) - positive).mean()
    torch.testing.assert_close(losses[3], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_weighted_decoupled_loss_of_lightly(sigma, implementation):
    peers = pytest.importorskip("lightly.loss")
    first, second = torch.randn(2, 12, 8, dtype=torch.float64).requires_grad_()
    expected = peers.DCLWLoss(temperature=0.2, sigma=sigma)(first, second)
    criterion = NTXentLoss(0.2, denominator="negatives", sigma=sigma, implementation=implementation)
    got = criterion(torch.stack([first, second], dim=1))
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(loss, (first, second), retain_graph=True) for loss in (got, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@implementations
def test_a_narrow_width_neither_overflows_nor_vanishes(implementation):
    embeddings = torch.randn(6, 2, 16).requires_grad_()
    for sigma in (0.001, 1000.0):
        loss = NTXentLoss(0.1, sigma=sigma, implementation=implementation)(embeddings)
        loss.backward()
        exact = NTXentLoss(0.1, sigma=sigma, implementation="dense")(embeddings.detach().double())
        torch.testing.assert_close(loss.double(), exact, rtol=1e-3, atol=1e-3)
        assert embeddings.grad.isfinite().all()


@implementations
@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_a_kernel_without_negatives_has_no_hard_ones(implementation, denominator):
    embeddings = torch.randn(4, 2, 8).requires_grad_()
    criterion = SemiSupConLoss(
        target=GaussianKernel(1.0), beta=1.0, tau_plus=0.1, denominator=denominator, implementation=implementation
    )
    loss = criterion(embeddings, torch.rand(4))
    loss.backward()
    assert embeddings.grad.isfinite().all()
    if denominator == "all":
        plain = SemiSupConLoss(target=GaussianKernel(1.0), implementation=implementation)
        assert loss.item() > 0
        assert plain(embeddings, torch.rand(4)).item() > 0
    else:
        assert loss.item() == 0
