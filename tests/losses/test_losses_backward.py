"""Changes between a loss and its backward pass."""

from __future__ import annotations

import pytest
import torch
from loss_batches import implementations, loss_of, reductions
from loss_reference import random_batch

from ssc_toolkit.losses import SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
@pytest.mark.parametrize("what", ["labels", "labeled", "items", "groups", "ignored", "anchor_weights", "tau", "matrix"])
@reductions
def test_changes_before_backward_never_change_the_gradient(implementation, what, reduction):
    """They are noticed, or have no effect."""
    from ssc_toolkit.targets import SimilarityMatrix

    found = []
    for change in (False, True):
        embeddings = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        target = SimilarityMatrix(torch.eye(8))
        tau = torch.tensor(0.2)
        given = {
            "labels": torch.arange(8) % 3,
            "labeled": torch.arange(8) < 6,
            "items": torch.arange(8),
            "groups": torch.arange(8) // 2,
            "ignored": torch.eye(8, dtype=torch.bool).roll(1, 0),
            "anchor_weights": torch.arange(8) + 1.0,
        }
        options = {"target": target, "temperature": tau, "reduction": reduction, "implementation": implementation}
        losses = semi_supcon_loss(embeddings, **given, **options)
        if change:
            {"tau": tau, "matrix": target.matrix, **given}[what].fill_(1)
        try:
            (losses * torch.arange(1.0, losses.numel() + 1).view(losses.shape)).sum().backward()
        except RuntimeError as error:
            assert change
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
            return
        found.append(embeddings.grad)
    assert torch.equal(*found)


def test_entries_of_a_dict_may_be_replaced_before_backward():
    made = random_batch(3, 8, 2, 5, 0.7, "union")
    found = []
    for change in (False, True):
        embeddings = made.embeddings.clone().requires_grad_()
        labels, labeled = dict(made.signal.labels), dict(made.signal.labeled)
        options = {"target": made.signal.target, "reduction": "none", "implementation": "tiled"}
        losses = semi_supcon_loss(embeddings, labels, labeled=labeled, **options)
        if change:
            labels["class"], labeled["tags"] = torch.zeros(8).long(), torch.ones(8).bool()
        losses.sum().backward()
        found.append(embeddings.grad)
    assert torch.equal(*found)


def test_a_target_that_was_changed_before_backward_is_noticed():
    made = random_batch(3, 8, 2, 5, 0.7, "matrix")
    embeddings = made.embeddings.clone().requires_grad_()
    losses = loss_of(made._replace(embeddings=embeddings), reduction="none", implementation="tiled")
    made.signal.target.matrix = torch.zeros(8, 8)
    with pytest.raises(RuntimeError, match="target: expected the same tensors"):
        losses.sum().backward()


def test_labels_made_in_inference_mode_go_through_tiles():
    with torch.inference_mode():
        labels = torch.arange(8) % 3
    embeddings = torch.randn(8, 2, 4).requires_grad_()
    SupConLoss(reduction="none", implementation="tiled")(embeddings, labels).sum().backward()
    assert embeddings.grad.isfinite().all()
