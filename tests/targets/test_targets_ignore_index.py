"""A number among the labels that stands for "unknown"."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_reference import naive_loss, naive_mean, random_batch

from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss, contrastive_statistics
from ssc_toolkit.targets import IgnorePairs, MaxTarget, SameClass, SharedLabels, WeightedSum


def batch_with(number, seed=5):
    """A batch, and its labels with a number in place of the unknown ones."""
    batch = random_batch(seed, 8, 2, 4, 0.6)
    return batch, torch.where(batch.signal.labeled, batch.signal.labels, number)


@pytest.mark.parametrize("number", [-1, -100, 7])
@pytest.mark.parametrize("implementation", ["dense", "tiled"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_numbers_are_unknown_labels(number, implementation, reduction):
    batch, labels = batch_with(number)
    rows = [item for item in range(8) for _ in range(2)]
    losses, valid = naive_loss(
        batch.embeddings.flatten(0, 1), rows, lambda i, j: batch.signal.weight(rows[i], rows[j]), 0.1
    )
    expected = {"mean": naive_mean(losses, valid), "sum": sum(losses), "none": losses}[reduction]
    criterion = SemiSupConLoss(
        target=SameClass(ignore_index=number), reduction=reduction, implementation=implementation
    )
    torch.testing.assert_close(
        criterion(batch.embeddings, labels).flatten().squeeze(), torch.tensor(expected, dtype=torch.float64)
    )
    both = criterion(batch.embeddings, labels, labeled=torch.ones(8, dtype=torch.bool))
    torch.testing.assert_close(both, criterion(batch.embeddings, labels))


def test_a_mask_hides_more_than_the_number():
    batch, labels = batch_with(-100)
    mask = torch.arange(8) % 3 > 0
    expected = SemiSupConLoss()(batch.embeddings, batch.signal.labels, labeled=batch.signal.labeled & mask)
    got = SemiSupConLoss(target=SameClass(ignore_index=-100))(batch.embeddings, labels, labeled=mask)
    torch.testing.assert_close(got, expected)


def test_other_negative_labels_are_refused_still():
    batch, labels = batch_with(-1)
    for target in (SameClass(), SameClass(ignore_index=-100)):
        with pytest.raises(ValueError, match=r"labels: .*negative.*ignore_index"):
            SemiSupConLoss(target=target)(batch.embeddings, labels)
    for wrong in (1.5, "unknown", True):
        with pytest.raises(TypeError, match="ignore_index"):
            SameClass(ignore_index=wrong)
    assert SameClass(ignore_index=np.int64(-1)).ignore_index == -1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "dynamic"])
def test_it_works_compiled(mode):
    batch, labels = batch_with(-1)
    criterion = SemiSupConLoss(target=SameClass(ignore_index=-1))
    compiled = torch.compile(criterion, fullgraph=True, dynamic=mode == "dynamic", backend="aot_eager")
    torch.testing.assert_close(compiled(batch.embeddings, labels), criterion(batch.embeddings, labels))


def test_it_works_under_vmap():
    batch, labels = batch_with(-1)
    criterion = SemiSupConLoss(target=SameClass(ignore_index=-1))
    many = torch.stack([labels, labels.flip(0), torch.full_like(labels, -1)])
    got = torch.func.vmap(lambda one: criterion(batch.embeddings, one))(many)
    torch.testing.assert_close(got, torch.stack([criterion(batch.embeddings, one) for one in many]))


def test_it_is_kept_in_a_queue():
    memories = [CrossBatchMemory(SemiSupConLoss(target=target), 24) for target in (SameClass(-1), SameClass())]
    for step in range(3):
        batch, labels = batch_with(-1, seed=step)
        items = torch.arange(8) + 4 * step
        got = memories[0](batch.embeddings, labels, items=items)
        expected = memories[1](batch.embeddings, **batch.signal.given, items=items)
        torch.testing.assert_close(got, expected)
    assert torch.equal(memories[0].queue.labeled, memories[1].queue.labeled)


def test_statistics_leave_ignored_rows_out():
    batch, labels = batch_with(-1)
    got = contrastive_statistics(batch.embeddings, labels, target=SameClass(ignore_index=-1))
    expected = contrastive_statistics(batch.embeddings, **batch.signal.given)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("mask", ["none", "one", "each"])
@pytest.mark.parametrize("combine", ["union", "sum", "ignored pairs"])
def test_signals_of_a_dict_have_numbers_of_their_own(combine, mask):
    batch, genre = batch_with(-1)
    artist = torch.tensor([0, -100, 1, 1, -100, 0, 2, 2])
    tags = torch.randint(0, 2, (8, 3))
    ours = {"genre": SameClass(-1), "artist": SameClass(-100), "tags": SharedLabels()}
    plain = {"genre": SameClass(), "artist": SameClass(), "tags": SharedLabels()}

    def target(parts):
        if combine == "union":
            return MaxTarget(parts)
        if combine == "sum":
            return WeightedSum({name: (part, 0.3) for name, part in parts.items()})
        return IgnorePairs({"genre": parts["genre"], "tags": parts["tags"]}, ignored={"artist": parts["artist"]})

    known = torch.arange(8) != 6
    masks = {"none": None, "one": known, "each": {"genre": known, "artist": known.roll(1), "tags": known.roll(2)}}[mask]
    each = masks if isinstance(masks, dict) else dict.fromkeys(ours, known if mask == "one" else known | True)
    labels = {"genre": genre, "artist": artist, "tags": tags}
    expected = SemiSupConLoss(target=target(plain))(
        batch.embeddings,
        {name: value.clamp(min=0) for name, value in labels.items()},
        labeled={
            "genre": each["genre"] & (genre != -1),
            "artist": each["artist"] & (artist != -100),
            "tags": each["tags"],
        },
    )
    got = SemiSupConLoss(target=target(ours))(batch.embeddings, labels, labeled=masks)
    torch.testing.assert_close(got, expected)


def test_the_target_alone_gives_ignored_items_no_weight():
    labels = torch.tensor([0, -1, -1, 0])
    weights = SameClass(ignore_index=-1)(labels, labels)
    assert weights.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]
