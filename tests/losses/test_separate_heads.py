"""Separate projections for views and labels: a weighted sum of two losses that do not touch each other's projection."""

from __future__ import annotations

import pytest
import torch
from loss_reference import naive_loss

from ssc_toolkit.encoders import Projector, ProjectorHeads
from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, SemiSupConLoss, SeparateHeadsLoss, SupConLoss
from ssc_toolkit.targets import MaxTarget, SameClass, SharedLabels

ITEMS, VIEWS, DIM = 8, 2, 6
GENRE = torch.tensor([0, 0, 1, 1, 1, 2, 0, 1])
KNOWN = torch.tensor([True, True, True, True, False, True, False, False])


def batch(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ITEMS, VIEWS, 2 * DIM, generator=generator, dtype=torch.float64).requires_grad_()


def separate(label_weight: float = 1.0, **options: object) -> SeparateHeadsLoss:
    views, labels = (SemiSupConLoss(0.2, SameClass(), **options) for _ in range(2))  # type: ignore[arg-type]
    return SeparateHeadsLoss(views, labels, label_weight)


def mean_of_reference(rows: torch.Tensor, items: list[int], weight: object, **options: float) -> float:
    losses, valid = naive_loss(rows, items, weight, 0.2, **options)  # type: ignore[arg-type]
    return sum(losses) / sum(valid)


@pytest.mark.parametrize("options", [{}, {"beta": 0.5, "tau_plus": 0.1}, {"sigma": 0.5}])
@pytest.mark.parametrize("label_weight", [0.0, 0.3, 2.0])
def test_the_loss_is_the_sum_of_the_definitions(label_weight, options):
    both = batch().detach()
    everything = [item for item in range(ITEMS) for _ in range(VIEWS)]
    known = [item for item in everything if KNOWN[item]]
    of_views = both[..., :DIM].flatten(0, 1)
    of_labels = both[KNOWN][..., DIM:].flatten(0, 1)
    views = mean_of_reference(of_views, everything, lambda i, k: 0.0, **options)
    labels = mean_of_reference(of_labels, known, lambda i, k: float(GENRE[known[i]] == GENRE[known[k]]), **options)
    found = separate(label_weight, **options)(both, GENRE, labeled=KNOWN)
    assert float(found) == pytest.approx(views + label_weight * labels, rel=1e-10)


def test_the_terms_are_the_known_losses():
    both = batch().detach()
    views, labels = both.chunk(2, dim=-1)
    everything = separate(0.5)(both, GENRE)
    torch.testing.assert_close(everything, NTXentLoss(0.2)(views) + 0.5 * SupConLoss(0.2)(labels, GENRE))
    for unlabeled in ({}, {"labels": GENRE, "labeled": torch.zeros(ITEMS, dtype=torch.bool)}):
        torch.testing.assert_close(separate()(both, **unlabeled), NTXentLoss(0.2)(views))


def test_unlabeled_items_have_no_part_in_the_loss_of_labels():
    both, other = batch().detach(), batch(1).detach()
    changed = both.clone()
    changed[~KNOWN, :, DIM:] = other[~KNOWN, :, DIM:]
    torch.testing.assert_close(separate()(changed, GENRE, labeled=KNOWN), separate()(both, GENRE, labeled=KNOWN))
    changed[:, :, :DIM] = other[:, :, :DIM]
    assert separate()(changed, GENRE, labeled=KNOWN) != separate()(both, GENRE, labeled=KNOWN)


def test_each_term_has_gradients_in_its_own_projector_only():
    torch.manual_seed(0)
    heads = ProjectorHeads(Projector(5, output_dim=DIM), Projector(5, output_dim=DIM))
    representation = torch.randn(ITEMS, VIEWS, 5, requires_grad=True)
    criterion = separate(0.7)
    views_only = criterion(heads(representation))
    gradients = torch.autograd.grad(views_only, list(heads.parameters()), retain_graph=True)
    sizes = [float(gradient.abs().sum()) for gradient in gradients]
    assert min(sizes[:2]) > 0
    assert sizes[2:] == [0, 0]
    labels_only = criterion(heads(representation), GENRE, labeled=KNOWN) - criterion(heads(representation))
    gradients = torch.autograd.grad(labels_only, [*heads.parameters(), representation])
    sizes = [float(gradient.abs().max()) for gradient in gradients]
    assert sizes[:2] == pytest.approx([0, 0], abs=1e-6)
    assert min(sizes[2:4]) > 1e-3
    assert float(gradients[-1][~KNOWN].abs().max()) == pytest.approx(0, abs=1e-6)


def test_several_signals_are_known_for_different_items():
    both = batch().detach()
    labels = {"genre": GENRE, "tags": torch.eye(ITEMS, 4)}
    labeled = {"genre": KNOWN, "tags": torch.arange(ITEMS) % 2 == 0}
    target = MaxTarget({"genre": SameClass(), "tags": SharedLabels(1)})
    loss = SeparateHeadsLoss(SemiSupConLoss(0.2), SemiSupConLoss(0.2, target))
    rows = labeled["genre"] | labeled["tags"]
    part = {name: value[rows] for name, value in labels.items()}
    masks = {name: value[rows] for name, value in labeled.items()}
    expected = NTXentLoss(0.2)(both[..., :DIM]) + SemiSupConLoss(0.2, target)(both[rows, :, DIM:], part, labeled=masks)
    torch.testing.assert_close(loss(both, labels, labeled=labeled), expected)


def test_each_projection_has_its_own_queue():
    loss = SeparateHeadsLoss(
        CrossBatchMemory(SemiSupConLoss(0.2), 40), CrossBatchMemory(SemiSupConLoss(0.2, SameClass()), 40)
    )
    one = [CrossBatchMemory(SemiSupConLoss(0.2, SameClass()), 40) for _ in range(2)]
    for step in range(3):
        both, items = batch(step).detach(), torch.arange(ITEMS) + ITEMS * step
        expected = one[0](both[..., :DIM], items=items)
        expected += one[1](both[KNOWN][..., DIM:], GENRE[KNOWN], labeled=KNOWN[KNOWN], items=items[KNOWN])
        torch.testing.assert_close(loss(both, GENRE, labeled=KNOWN, items=items), expected)
    assert (len(loss.views), len(loss.labels)) == (40, 2 * 3 * int(KNOWN.sum()))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="embeddings: expected two projections of equal width"):
        separate()(torch.randn(4, 2, 7))
    with pytest.raises(ValueError, match="label_weight: expected a number of at least 0, got -1"):
        separate(-1)
    with pytest.raises(TypeError, match="labels: expected SemiSupConLoss or CrossBatchMemory"):
        SeparateHeadsLoss(SemiSupConLoss(), torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="labels: expected input and output of widths"):
        ProjectorHeads(Projector(5), Projector(5, output_dim=3))
