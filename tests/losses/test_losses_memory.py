"""Contrast with earlier batches, by the double loop and by lightly's memory bank."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from loss_reference import naive_loss, naive_mean, random_batch

from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, RankNContrastLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.targets import SharedLabels


@pytest.mark.parametrize("kind", ["classes", "jaccard", "points in a plane", "union"])
def test_a_memory_contrasts_with_the_last_rows(kind):
    """By the function itself: the anchors are the batch, the keys batch and queue, less the anchor itself."""
    size, temperature = 10, 0.2
    criterion = CrossBatchMemory(SemiSupConLoss(temperature, random_batch(0, 4, 2, 6, 0.7, kind).signal.target), size)
    seen = []
    for step in range(4):
        made = random_batch(step, 4, 2, 6, 0.7, kind)
        items = torch.tensor([step, step + 1, 20, 30 + step])  # some come back
        embeddings = made.embeddings.clone().requires_grad_()
        got = criterion(embeddings, **made.signal.given, items=items)
        rows = [(made.embeddings.flatten(0, 1)[r], int(items[r // 2]), made.signal, r // 2) for r in range(8)]
        contrasts = rows + seen
        unit = torch.nn.functional.normalize(torch.stack([row[0] for row in contrasts]), dim=-1)
        losses = []
        for i in range(8):
            others = [k for k in range(len(contrasts)) if k != i]
            similarity = unit[others] @ unit[i] / temperature
            weights = [float(contrasts[k][1] == rows[i][1]) or _weight(kind, rows[i], contrasts[k]) for k in others]
            weights = torch.tensor(weights, dtype=torch.float64)
            losses.append(similarity.logsumexp(0) - (weights * similarity).sum() / weights.sum())
        assert got.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-10)
        got.backward()
        assert embeddings.grad.abs().sum() > 0
        seen = (seen + rows)[-size:]
        assert len(criterion) == min(size, 8 * (step + 1))


def _weight(kind, one, other):
    """Weight of two rows of different batches: their labels side by side, through the target itself."""

    def row(value, i):
        return {k: v[i : i + 1] for k, v in value.items()} if isinstance(value, dict) else value[i : i + 1]

    found = one[2].target.weights(
        row(one[2].labels, one[3]),
        row(other[2].labels, other[3]),
        row(one[2].labeled, one[3]),
        row(other[2].labeled, other[3]),
        torch.float64,
    )
    return float(found)


def test_a_memory_is_saved_and_taken_up_with_the_state():
    def batch(step):
        made = random_batch(step, 4, 2, 6, 0.7, "union")
        return {"embeddings": made.embeddings, **made.signal.given}

    target = random_batch(0, 4, 2, 6, 0.7, "union").signal.target
    through, stopped = (CrossBatchMemory(SemiSupConLoss(target=target), 12) for _ in range(2))
    for step in range(3):
        for memory in (through, stopped):
            memory(**batch(step), items=torch.arange(4) + step)
    resumed = CrossBatchMemory(SemiSupConLoss(target=target), 12)
    assert len(resumed) == 0
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert len(resumed) == 12
    assert resumed(**batch(3), items=torch.arange(4)).item() == through(**batch(3), items=torch.arange(4)).item()


def test_a_memory_rests_in_eval_mode_and_asks_for_ids():
    memory = CrossBatchMemory(SemiSupConLoss(), 12).eval()
    memory(torch.randn(4, 2, 6), items=torch.arange(4))
    assert len(memory) == 0
    with pytest.raises(ValueError, match="items"):
        memory(torch.randn(4, 2, 6), items=None)
    for size in (0, 2.5, "8", True):
        with pytest.raises((TypeError, ValueError), match="size"):
            CrossBatchMemory(SemiSupConLoss(), size)
    with pytest.raises(ValueError, match="contrasts: expected one of all, queue"):
        CrossBatchMemory(SemiSupConLoss(), 8, contrasts="bank")
    memory.train()
    memory(torch.randn(4, 2, 6), items=torch.arange(4))
    with pytest.raises(ValueError, match="same label signals"):
        memory(torch.randn(4, 2, 6), labels=torch.arange(4), items=torch.arange(4))
    with pytest.raises(ValueError, match="same dim"):
        memory(torch.randn(4, 2, 5), items=torch.arange(4))
    memory.clear()
    assert len(memory) == 0
    with pytest.raises(TypeError, match="loss"):
        CrossBatchMemory(RankNContrastLoss(), 8)
    tags = CrossBatchMemory(SemiSupConLoss(target=SharedLabels()), 8)
    tags(torch.randn(2, 2, 6), labels=torch.ones(2, 3), items=torch.arange(2))
    with pytest.raises(ValueError, match="labels: expected rows like"):
        tags(torch.randn(2, 2, 6), labels=torch.ones(2, 4), items=torch.arange(2))


class Twice(SemiSupConLoss):
    def forward(self, *args, **kwargs):
        return 2 * super().forward(*args, **kwargs)


class WithoutLabels(SemiSupConLoss):
    def forward(self, embeddings, *, items=None):
        return super().forward(embeddings, items=items)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_memory_calls_the_forward_of_a_subclass(reduction):
    plain, twice, none, nt_xent = (
        CrossBatchMemory(make(reduction=reduction), 10) for make in (SemiSupConLoss, Twice, WithoutLabels, NTXentLoss)
    )
    for step in range(3):
        made = random_batch(step, 4, 2, 6, 0.7)
        arguments = {"embeddings": made.embeddings, **made.signal.given, "items": torch.arange(4) + step}
        torch.testing.assert_close(twice(**arguments), 2 * plain(**arguments))
        torch.testing.assert_close(none(**arguments), nt_xent(**arguments))
    for memory in (twice, none):
        assert torch.equal(memory.queue.embeddings, plain.queue.embeddings)


@pytest.mark.parametrize("make", [NTXentLoss, SupConLoss])
def test_a_memory_uses_labels_as_its_loss_does(make):
    """NT-Xent reads none, SupCon does without them: two steps equal SemiSupCon's without labels."""
    memory, expected = CrossBatchMemory(make(), 16), CrossBatchMemory(SemiSupConLoss(), 16)
    for step in range(3):
        made = random_batch(step, 4, 2, 6, 0.7)
        items = torch.arange(4) + 2 * step
        labels = made.signal.given if make is NTXentLoss else {}
        torch.testing.assert_close(
            memory(made.embeddings, **labels, items=items), expected(made.embeddings, items=items)
        )
    assert memory.queue.labels is None


class WithoutMask(SemiSupConLoss):
    def forward(self, embeddings, labels=None, *, items=None):
        return super().forward(embeddings, labels, items=items)


def test_a_memory_does_not_show_hidden_labels():
    memory, embeddings, labels = CrossBatchMemory(WithoutMask(), 16), torch.randn(4, 2, 6), torch.arange(4) % 2
    everything = torch.ones(4, dtype=torch.bool)
    got = memory(embeddings, labels, labeled=everything, items=torch.arange(4))
    torch.testing.assert_close(got, SupConLoss()(embeddings, labels))
    with pytest.raises(ValueError, match="labeled: some labels are unknown"):
        memory(embeddings, labels, labeled=~everything, items=torch.arange(4))
    assert len(memory) == 8  # the refused batch did not enter


@pytest.mark.parametrize("kind", ["classes", "jaccard"])
def test_keys_of_a_second_encoder_enter_the_queue(kind):
    """As by MoCo: anchors are queries, contrasts the keys of the batch and those of earlier ones."""
    target, size = random_batch(0, 4, 1, 6, 0.7, kind).signal.target, 10
    memory = CrossBatchMemory(SemiSupConLoss(0.2, target), size)
    seen = []
    for step in range(4):
        made = random_batch(step, 4, 2, 6, 0.7, kind)
        queries, keys = made.embeddings[:, :1], made.embeddings[:, 1:]
        items = torch.tensor([step, step + 1, 20, 30 + step])
        queries.requires_grad_()
        contrasts = [(keys[i, 0], int(items[i]), made.signal, i) for i in range(4)] + seen
        losses, valid = naive_loss(
            queries.detach().flatten(0, 1),
            items.tolist(),
            lambda i, k, made=made, contrasts=contrasts: _weight(kind, (None, None, made.signal, i), contrasts[k]),
            0.2,
            keys=torch.stack([row[0] for row in contrasts]),
            key_items=[row[1] for row in contrasts],
        )
        got = memory(queries, **made.signal.given, items=items, keys=keys)
        assert got.item() == pytest.approx(naive_mean(losses, valid), rel=1e-10)
        got.backward()
        seen = (seen + contrasts[:4])[-size:]
        torch.testing.assert_close(memory.queue.embeddings, torch.stack([row[0] for row in seen]))


def test_keys_with_ids_and_labels_of_their_own_enter_the_queue():
    memory = CrossBatchMemory(SemiSupConLoss(), 16)
    made = random_batch(0, 4, 2, 6, 1.0)
    keys = {"keys": torch.randn(3, 6).double(), "key_labels": torch.arange(3), "key_items": torch.arange(3) + 50}
    got = memory(made.embeddings, made.signal.labels, items=torch.arange(4), **keys)
    torch.testing.assert_close(
        got, SemiSupConLoss()(made.embeddings, made.signal.labels, items=torch.arange(4), **keys)
    )
    assert memory.queue.items.tolist() == [50, 51, 52]
    assert memory.queue.labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="keys: WithoutLabels does not accept"):
        CrossBatchMemory(WithoutLabels(), 8)(made.embeddings, items=torch.arange(4), keys=made.embeddings)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["classes", "dice"])
def test_anchors_may_meet_the_queue_alone(kind, reduction, implementation):
    """Of the batch, an anchor meets the views of its own item."""
    target, seen, items = random_batch(0, 4, 2, 6, 0.7, kind).signal.target, [], torch.arange(4)
    criterion = SemiSupConLoss(0.2, target, reduction, implementation=implementation)
    memory = CrossBatchMemory(criterion, 12, contrasts="queue")
    for step in range(3):
        made = random_batch(step, 4, 2, 6, 0.7, kind)
        rows = [(made.embeddings.flatten(0, 1)[r], r // 2 + 3 * step, made.signal, r // 2) for r in range(8)]
        found, valid = [], []
        for r in range(8):
            keys = [rows[r ^ 1], *seen]  # its other view, and the queue
            one, one_valid = naive_loss(
                rows[r][0][None],
                [rows[r][1]],
                lambda i, k, r=r, keys=keys, rows=rows: _weight(kind, rows[r], keys[k]),
                0.2,
                keys=torch.stack([key[0] for key in keys]),
                key_items=[key[1] for key in keys],
            )
            found += one
            valid += one_valid
        expected = {"mean": naive_mean(found, valid), "sum": sum(found), "none": found}[reduction]
        embeddings = made.embeddings.clone().requires_grad_()
        got = memory(embeddings, **made.signal.given, items=items + 3 * step)
        assert got.flatten().tolist() == pytest.approx(np.ravel(expected).tolist(), rel=1e-9, abs=1e-9)
        if step:
            got.sum().backward()
            assert embeddings.grad.abs().sum() > 0
        seen = (seen + rows)[-12:]


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_a_queue_alone_is_the_memory_bank_of_lightly(implementation):
    peers = pytest.importorskip("lightly.loss")
    size, count, dim = 24, 6, 8
    theirs = peers.NTXentLoss(temperature=0.2, memory_bank_size=(size, dim))
    criterion = NTXentLoss(temperature=0.2, implementation=implementation)
    ours = CrossBatchMemory(criterion, size, contrasts="queue")
    for step in range(9):
        queries = torch.randn(2, count, dim, generator=torch.Generator().manual_seed(step))
        pairs = [[view.clone().requires_grad_() for view in queries] for _ in range(2)]
        expected = theirs(*pairs[0])
        query, key = pairs[1]
        got = ours(query, items=torch.arange(count) + count * step, keys=key)
        if step < size // count:  # their bank begins with random rows, ours empty
            continue
        torch.testing.assert_close(got, expected)
        got.backward()
        expected.backward()
        for their_view, our_view in zip(*pairs, strict=True):
            torch.testing.assert_close(our_view.grad, their_view.grad)


def test_a_memory_passes_groups_and_weights_on():
    """The losses are those of the batch's rows in one large batch with the queue."""
    memory, batches = (
        CrossBatchMemory(SemiSupConLoss(reduction="none"), 32),
        [random_batch(n, 6, 2, 5, 0.7) for n in (0, 1)],
    )
    options = {"groups": torch.tensor([0, 0, 1, 1, 2, 2]), "anchor_weights": torch.arange(6) + 1.0}
    items = [torch.arange(6), torch.arange(6) + 3]
    for made, ids in zip(batches, items, strict=True):
        got = memory(made.embeddings, **made.signal.given, items=ids, **options)

    def both(values):
        return torch.cat([values[1], values[0]]).repeat_interleave(2, dim=0)

    expected = SemiSupConLoss(reduction="none")(
        torch.cat([batches[n].embeddings.flatten(0, 1) for n in (1, 0)]),
        both([made.signal.labels for made in batches]),
        labeled=both([made.signal.labeled for made in batches]),
        items=both(items),
        **{name: both([value, value]) for name, value in options.items()},
    )
    torch.testing.assert_close(got.flatten(), expected[:12])
    with pytest.raises(ValueError, match="groups: expected groups in every batch"):
        memory(batches[0].embeddings, **batches[0].signal.given, items=items[0])


def test_a_failing_loss_leaves_the_memory_as_it_was():
    memory = CrossBatchMemory(SemiSupConLoss(), 16)
    memory(torch.randn(4, 2, 6), torch.arange(4), items=torch.arange(4))
    with pytest.raises(ValueError, match="negative"):
        memory(torch.randn(4, 2, 6), torch.arange(4) - 1, items=torch.arange(4))
    assert len(memory) == 8
    alone = torch.randn(4, 2, 6)
    torch.testing.assert_close(memory.loss(alone), NTXentLoss()(alone))  # no queue when called by itself


class WithoutItems(SemiSupConLoss):
    def forward(self, embeddings, labels=None):
        return super().forward(embeddings, labels)


def test_a_memory_refuses_a_loss_without_ids():
    with pytest.raises(TypeError, match=r"loss: .*accepts items, got WithoutItems"):
        CrossBatchMemory(WithoutItems(), 8)


def test_a_memory_outlives_a_batch_that_is_not_finite():
    memory = CrossBatchMemory(NTXentLoss(), 64)
    broken = torch.randn(4, 2, 6)
    broken[0, 0, 0] = torch.inf
    assert memory(broken, items=torch.arange(4)).isnan()
    assert memory(torch.randn(4, 2, 6), items=torch.arange(4, 8)).isfinite()


def test_a_memory_keeps_the_last_rows():
    memory = CrossBatchMemory(NTXentLoss(), 4)
    memory(torch.randn(8, 1, 4), items=torch.arange(8))
    memory(torch.randn(3, 1, 4), items=torch.arange(8, 11))
    assert memory.queue.items.tolist() == [7, 8, 9, 10]


def test_another_dim_is_named_with_both_dims():
    memory = CrossBatchMemory(SemiSupConLoss(), size=8)
    for dim in (8, 9):
        rows = torch.randn(6, 2, dim), torch.arange(6)
        if dim == 9:
            with pytest.raises(ValueError, match="embeddings: expected the same dim in every batch, got 9 and 8"):
                memory(*rows, items=torch.arange(6))
        else:
            memory(*rows, items=torch.arange(6))
