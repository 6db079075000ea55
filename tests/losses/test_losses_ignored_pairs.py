"""Pairs that take no part in a loss."""

from __future__ import annotations

import pytest
import torch
from loss_batches import REDUCTIONS, implementations, loss_of
from loss_reference import naive_loss, random_batch

from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, SemiSupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import IgnorePairs, MaxTarget, SameClass, Target, WeightedSum

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
def test_ignored_pairs_are_as_if_they_were_not_there(implementation):
    """Where all rows of a group but one are ignored, its anchor sees the batch without them."""
    embeddings = torch.randn(5, 2, 8, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1])
    groups = torch.tensor([7, 7, 8, 9, 10])
    none = {"reduction": "none", "implementation": implementation}
    first = semi_supcon_loss(embeddings, labels, groups=groups, **none)[0]
    without = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(first, semi_supcon_loss(embeddings[without], labels[without], **none)[0])


@implementations
def test_own_views_are_never_ignored(implementation):
    embeddings = torch.randn(4, 3, 8)
    expected = NTXentLoss(implementation=implementation)(embeddings)
    everything = torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(NTXentLoss(implementation=implementation)(embeddings, ignored=everything), expected)
    alone = NTXentLoss(implementation=implementation, reduction="none")(embeddings, groups=torch.zeros(4).long())
    torch.testing.assert_close(alone[:1], NTXentLoss(reduction="none")(embeddings[:1]))


@implementations
def test_groups_mask_and_target_say_the_same(implementation):
    made = random_batch(3, 8, 2, 5, 0.7)
    artist = torch.arange(8) // 3
    options = {"implementation": implementation, "temperature": 0.2}
    by_groups = loss_of(made, groups=artist, **options)
    by_mask = loss_of(made, ignored=artist[:, None] == artist, **options)
    known = torch.ones(8, dtype=torch.bool)
    by_target = semi_supcon_loss(
        made.embeddings,
        {"genre": made.signal.labels, "artist": artist},
        labeled={"genre": made.signal.labeled, "artist": known},
        target=IgnorePairs({"genre": SameClass()}, ignored={"artist": SameClass()}),
        **options,
    )
    torch.testing.assert_close(by_mask, by_groups)
    torch.testing.assert_close(by_target, by_groups)
    assert by_groups != loss_of(made, **options)
    rows = made.embeddings.flatten(0, 1)
    labels, labeled, ids, groups = (
        value.repeat_interleave(2) for value in (made.signal.labels, made.signal.labeled, torch.arange(8), artist)
    )
    flat = semi_supcon_loss(rows, labels, labeled=labeled, items=ids, groups=groups, **options)
    torch.testing.assert_close(flat, by_groups)
    mask = groups[:, None] == groups
    flat = semi_supcon_loss(rows, labels, labeled=labeled, items=ids, ignored=mask, **options)
    torch.testing.assert_close(flat, by_groups)


def test_without_labels_a_target_only_ignores():
    embeddings, artist = torch.randn(6, 2, 8), torch.arange(6) // 2
    target = IgnorePairs(None, ignored={"artist": SameClass()})
    got = SemiSupConLoss(target=target)(embeddings, {"artist": artist})
    torch.testing.assert_close(got, NTXentLoss()(embeddings, groups=artist))
    known = torch.tensor([True, True, False, False, False, False])
    got = SemiSupConLoss(target=target)(embeddings, {"artist": artist}, labeled=known)
    only_first = torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(got, NTXentLoss()(embeddings, groups=only_first))


def test_a_rule_of_ones_own_ignores_what_lies_between():
    """Near in tempo is positive, far is negative, between is neither."""
    labels = torch.tensor([0.0, 0.1, 1.0, 5.0], dtype=torch.float64)
    near = lambda a, b: ((a[:, None] - b).abs() < 0.5).double()  # noqa: E731
    between = lambda a, b: ((a[:, None] - b).abs() >= 0.5) & ((a[:, None] - b).abs() < 2)  # noqa: E731
    embeddings = torch.randn(4, 1, 8, dtype=torch.float64)
    got = SemiSupConLoss(target=IgnorePairs(near, between), reduction="none")(embeddings, labels)
    unit = torch.nn.functional.normalize(embeddings[:, 0], dim=-1)
    s = unit @ unit.T / 0.1
    expected = torch.logaddexp(s[0, 1], s[0, 3]) - s[0, 1]  # the third is left out
    torch.testing.assert_close(got[0, 0], expected)
    assert got[2, 0] == 0


class Unsure(Target):
    """Weight 1 for equal numbers, ignored if they differ by one: a third answer of a target itself."""

    def forward(self, rows, columns):
        return (rows[:, None] == columns).float()

    def ignored(self, rows, columns, rows_known, columns_known):
        return (rows[:, None] - columns).abs() == 1


@implementations
@pytest.mark.parametrize("combine", ["alone", "union", "sum"])
def test_a_target_may_have_a_third_answer(implementation, combine):
    labels = torch.tensor([0, 1, 5, 5, 6, 0])
    embeddings = torch.randn(6, 2, 8, dtype=torch.float64)
    mask = (labels[:, None] - labels).abs() == 1
    target = {"alone": Unsure(), "union": MaxTarget({"a": Unsure()}), "sum": WeightedSum({"a": (Unsure(), 1.0)})}[
        combine
    ]
    given = labels if combine == "alone" else {"a": labels}
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "implementation": implementation}
        got = SemiSupConLoss(target=target, **options)(embeddings, given)
        torch.testing.assert_close(got, SemiSupConLoss(**options)(embeddings, labels, ignored=mask))


def test_ignored_pairs_of_keys():
    made = random_batch(2, 5, 2, 6, 1.0)
    keys = torch.randn(7, 6, dtype=torch.float64)
    groups, key_groups = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 9, 9, 4, 2])
    key_labels, key_items = torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.tensor([0, 1, 2, 10, 11, 12, 13])
    of_keys = {"keys": keys, "key_items": key_items, "key_labels": key_labels}
    by_groups = loss_of(made, items=torch.arange(5), groups=groups, key_groups=key_groups, **of_keys)
    by_mask = loss_of(made, items=torch.arange(5), ignored=groups[:, None] == key_groups, **of_keys)
    torch.testing.assert_close(by_groups, by_mask)
    rows = [r // 2 for r in range(10)]
    losses, valid = naive_loss(
        made.embeddings.flatten(0, 1),
        rows,
        lambda i, k: float(made.signal.labels[rows[i]] == key_labels[k]),
        0.1,
        keys=keys,
        key_items=key_items.tolist(),
        ignored=lambda i, k: bool(groups[rows[i]] == key_groups[k]),
    )
    assert by_groups.item() == pytest.approx(sum(losses) / sum(valid), rel=1e-6)
    second = torch.randn(5, 2, 6, dtype=torch.float64)
    expected = loss_of(
        made, keys=second, ignored=torch.tensor([0, 0, 1, 2, 2])[:, None] == torch.tensor([0, 0, 1, 2, 2])
    )
    torch.testing.assert_close(loss_of(made, keys=second, groups=torch.tensor([0, 0, 1, 2, 2])), expected)


@pytest.mark.parametrize("form", ["target", "groups"])
def test_a_memory_ignores_pairs_too(form):
    genre, artist = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3])
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    batches = [torch.randn(4, 1, 6, dtype=torch.float64) for _ in range(2)]
    if form == "target":
        target = IgnorePairs({"genre": SameClass()}, ignored={"artist": SameClass()})
        given = {"labels": {"genre": genre, "artist": artist}}
    else:
        target, given = SameClass(), {"labels": genre, "groups": artist}
    memory = CrossBatchMemory(SemiSupConLoss(target=target, reduction="none"), 8)
    for step, embeddings in enumerate(batches):
        got = memory(embeddings, items=torch.arange(4) + 10 * step, anchor_weights=weights, **given)
    losses, _ = naive_loss(
        torch.cat([batches[1], batches[0]])[:, 0],
        list(range(8)),
        lambda i, k: float(genre[i % 4] == genre[k % 4]),
        0.1,
        ignored=lambda i, k: bool(artist[i % 4] == artist[k % 4]),
    )
    assert got.flatten().tolist() == pytest.approx(
        [a * loss for a, loss in zip(weights.tolist(), losses[:4], strict=True)]
    )
    restored = CrossBatchMemory(SemiSupConLoss(target=target, reduction="none"), 8)
    restored.load_state_dict(memory.state_dict())
    again = [m.eval()(batches[0], items=torch.arange(4) + 20, **given) for m in (memory, restored)]
    torch.testing.assert_close(*again)
    if form == "groups":
        with pytest.raises(ValueError, match="groups: expected groups in every batch or in none"):
            memory(batches[0], labels=genre, items=torch.arange(4))
