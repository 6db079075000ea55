"""Anchors that are compared with keys instead of each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import batches, flat, implementations, sizes
from loss_reference import naive_loss, naive_mean, random_batch

from ssc_toolkit.losses import NTXentLoss
from ssc_toolkit.losses.functional import semi_supcon_loss

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
@given(batch=st.fixed_dictionaries(sizes | {"kind": st.sampled_from(["classes", "dice", "union"])}))
def test_keys_are_the_only_contrasts(implementation, batch):
    """A queue: rows of other items, some of which are the anchors' items seen before."""
    made = random_batch(**batch)
    count, views = made.embeddings.shape[:2]
    generator = torch.Generator().manual_seed(batch["seed"] + 1)
    chosen = torch.randint(count, (count + 2,), generator=generator)  # whose labels the keys have
    key_items = torch.where(torch.rand(count + 2, generator=generator) < 0.5, chosen, chosen + 100)
    keys = torch.randn(count + 2, batch["dim"], generator=generator, dtype=torch.float64)

    def of_keys(value):
        return {name: v[chosen] for name, v in value.items()} if isinstance(value, dict) else value[chosen]

    rows = [item for item in range(count) for _ in range(views)]
    losses, valid = naive_loss(
        made.embeddings.flatten(0, 1),
        rows,
        lambda i, k: made.signal.weight(rows[i], int(chosen[k])),
        0.1,
        keys=keys,
        key_items=key_items.tolist(),
    )
    got = semi_supcon_loss(
        made.embeddings,
        made.signal.labels,
        labeled=made.signal.labeled,
        target=made.signal.target,
        items=torch.arange(count),
        keys=keys,
        key_labels=of_keys(made.signal.labels),
        key_labeled=of_keys(made.signal.labeled),
        key_items=key_items,
        implementation=implementation,
    )
    assert got.item() == pytest.approx(naive_mean(losses, valid), rel=1e-12, abs=1e-12)


@given(batch=batches)
def test_keys_of_a_second_encoder_are_views_of_the_same_items(batch):
    made = random_batch(**batch)
    keys = torch.randn(made.embeddings.shape, dtype=torch.float64)
    rows, items, labels, labeled = flat(
        made.embeddings, torch.arange(len(made.embeddings)), made.signal.labels, made.signal.labeled
    )
    expected = semi_supcon_loss(
        rows,
        labels,
        labeled=labeled,
        items=items,
        keys=keys.flatten(0, 1),
        key_labels=labels,
        key_labeled=labeled,
        key_items=items,
    )
    got = semi_supcon_loss(made.embeddings, made.signal.labels, labeled=made.signal.labeled, keys=keys)
    torch.testing.assert_close(got, expected)


def test_info_nce_is_cross_entropy_over_the_keys():
    queries, keys = torch.randn(2, 6, 1, 8, dtype=torch.float64)
    unit = torch.nn.functional.normalize
    logits = unit(queries[:, 0], dim=-1) @ unit(keys[:, 0], dim=-1).T / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(NTXentLoss(temperature=0.2)(queries, keys=keys), expected)


@implementations
def test_no_keys_at_all_are_no_positives(implementation):
    queries = torch.randn(3, 2, 8, requires_grad=True)
    nothing = {"keys": torch.randn(0, 8), "key_items": torch.zeros(0, dtype=torch.int64)}
    loss = semi_supcon_loss(queries, items=torch.arange(3), implementation=implementation, **nothing)
    loss.backward()
    assert loss.item() == 0
    assert (queries.grad == 0).all()
