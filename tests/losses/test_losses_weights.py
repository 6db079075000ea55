"""Weights of anchors and of labels."""

from __future__ import annotations

import pytest
import torch
from loss_batches import implementations, loss_of
from loss_reference import naive_loss, random_batch

from ssc_toolkit.losses import NTXentLoss, SupConLoss, class_balanced_weights

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
def test_an_anchor_of_weight_zero_is_only_a_contrast(implementation):
    made = random_batch(0, 6, 2, 5, 1.0)
    losses = loss_of(made, reduction="none", implementation=implementation)
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    got = loss_of(made, anchor_weights=weights, implementation=implementation)
    torch.testing.assert_close(got, losses[weights > 0].mean())
    torch.testing.assert_close(loss_of(made, anchor_weights=weights * 1e-6, implementation=implementation), got)
    assert loss_of(made, anchor_weights=torch.zeros(6), implementation=implementation) == 0
    whole = torch.tensor([1, 0, 1, 0, 1, 1])
    torch.testing.assert_close(loss_of(made, anchor_weights=whole, implementation=implementation), got)


@implementations
def test_label_weight_goes_from_self_supervision_to_supervision(implementation):
    made = random_batch(0, 6, 2, 5, 1.0)
    options = {"implementation": implementation}
    torch.testing.assert_close(loss_of(made, label_weight=0.0, **options), NTXentLoss()(made.embeddings))
    torch.testing.assert_close(loss_of(made, label_weight=1.0, **options), loss_of(made, **options))
    one_view = random_batch(0, 6, 1, 5, 1.0)  # without own views the weight cancels
    torch.testing.assert_close(loss_of(one_view, label_weight=7.0, **options), loss_of(one_view, **options))


def test_views_that_share_a_label_keep_the_weight_of_views():
    embeddings = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    both = torch.cat(embeddings).double()
    losses, _ = naive_loss(both.flatten(0, 1), [0, 0, 1, 1], lambda i, k: 1.0, 0.1, label_weight=3.0)
    got = SupConLoss(label_weight=3.0)(both, torch.tensor([4, 4]))
    assert got.item() == pytest.approx(sum(losses) / 4)


def test_balanced_weights_are_those_of_cui_et_al():
    labels = torch.tensor([0, 0, 0, 2, 2, 7, 7, 7])
    labeled = torch.tensor([True, True, True, True, True, True, False, False])
    for beta in (0.0, 0.5, 0.999, 1.0):
        numbers = {0: 3, 2: 2, 7: 1}
        raw = {c: 1 / n if beta == 1 else (1 - beta) / (1 - beta**n) for c, n in numbers.items()}
        scale = 6 / sum(n * raw[c] for c, n in numbers.items())
        expected = [raw[int(c)] * scale if known else 1.0 for c, known in zip(labels, labeled, strict=True)]
        assert class_balanced_weights(labels, labeled, beta=beta).tolist() == pytest.approx(expected)
    assert class_balanced_weights(labels, beta=0.0).tolist() == [1.0] * 8
    counts = torch.tensor([30, 0, 20, 0, 0, 0, 0, 50])
    weights = class_balanced_weights(labels, counts=counts)
    assert weights.tolist() == pytest.approx([100 / 90] * 3 + [100 / 60] * 2 + [100 / 150] * 3)
    assert float(counts[[0, 2, 7]].float() @ weights[[0, 3, 5]] / 100) == pytest.approx(1)
    nothing = torch.zeros(8, dtype=torch.bool)
    assert class_balanced_weights(torch.full((8,), -1), nothing).tolist() == [1.0] * 8
    assert class_balanced_weights(torch.tensor([10**15, 3, 3])).tolist() == pytest.approx([1.5, 0.75, 0.75])
    assert class_balanced_weights(labels[:0]).shape == (0,)


def test_balanced_classes_count_alike_in_the_mean():
    embeddings, labels = torch.randn(6, 2, 8), torch.tensor([0, 0, 0, 0, 1, 1])
    each = SupConLoss(reduction="none")(embeddings, labels).mean(dim=1)
    got = SupConLoss()(embeddings, labels, anchor_weights=class_balanced_weights(labels))
    torch.testing.assert_close(got, (each[:4].mean() + each[4:].mean()) / 2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"labels": torch.rand(3)}, TypeError, "labels"),
        ({"labels": torch.ones(3, 2).long()}, ValueError, "labels"),
        ({"labels": torch.tensor([0, -1])}, ValueError, "labels: .*negative"),
        ({"labels": torch.arange(3), "labeled": torch.ones(3)}, TypeError, "labeled"),
        ({"labels": torch.arange(3), "labeled": torch.ones(2).bool()}, ValueError, "labeled"),
        ({"labels": torch.arange(3), "counts": torch.ones(2)}, ValueError, "counts"),
        ({"labels": torch.arange(3), "counts": torch.tensor([1, 0, 1])}, ValueError, "counts"),
        ({"labels": torch.arange(3), "counts": [1, 1, 1]}, ValueError, "counts"),
        ({"labels": torch.arange(3), "beta": 1.5}, ValueError, "beta"),
    ],
)
def test_balanced_weights_refuse_bad_input(arguments, error, words):
    with pytest.raises(error, match=words):
        class_balanced_weights(**arguments)
