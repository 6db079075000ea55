"""How the losses are called: which arguments each takes, and in which order."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_reference import naive_loss, naive_mean, random_batch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ssc_toolkit import losses
from ssc_toolkit.losses import (
    CrossBatchMemory,
    LearnableTemperature,
    NTXentLoss,
    RankNContrastLoss,
    SemiSupConLoss,
    SupConLoss,
    cached_backward,
)
from ssc_toolkit.losses.arguments import LossArguments
from ssc_toolkit.targets import MaxTarget, SameClass

LABELED = [losses.semi_supcon_loss, SemiSupConLoss.forward, CrossBatchMemory.forward, RankNContrastLoss.forward]
ROWS = {"items", "groups", "ignored", "anchor_weights", "keys", "key_items", "key_groups"}
EVERYTHING = {"labels", "labeled", "key_labels", "key_labeled"} | ROWS


@pytest.mark.parametrize("call", [*LABELED, SupConLoss.forward, losses.contrastive_statistics])
def test_labels_come_second_and_all_else_by_keyword(call):
    names = [one for one in inspect.signature(call).parameters.values() if one.name != "self"]
    assert [one.name for one in names[:2]] == ["embeddings", "labels"]
    assert all(one.kind is one.KEYWORD_ONLY for one in names[2:])


def test_a_positional_mask_is_refused():
    embeddings, labels, labeled = torch.randn(4, 2, 8), torch.arange(4), torch.ones(4, dtype=torch.bool)
    for call in (losses.semi_supcon_loss, SemiSupConLoss(), SupConLoss(), RankNContrastLoss()):
        with pytest.raises(TypeError, match="positional"):
            call(embeddings, labels, labeled)


@given(seed=st.integers(0, 1000), items=st.integers(1, 6))
def test_nt_xent_takes_the_two_views_of_simclr(seed, items):
    first, second = random_batch(seed, items, 2, 5, 0.0).embeddings.unbind(dim=1)
    twice = [view.clone().requires_grad_() for view in (first, second)]
    got = NTXentLoss(temperature=0.2)(*twice)
    stacked = torch.stack([first, second], dim=1).requires_grad_()
    expected = NTXentLoss(temperature=0.2)(stacked)
    assert torch.equal(got, expected)
    got.backward()
    expected.backward()
    torch.testing.assert_close(torch.stack([view.grad for view in twice], dim=1), stacked.grad)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 8), implementation=st.sampled_from(["dense", "tiled"]))
def test_flat_rows_with_labels_are_items_of_their_own(seed, rows, implementation):
    made = random_batch(seed, rows, 1, 5, 0.8)
    flat = made.embeddings[:, 0]
    for reduction in ("mean", "sum", "none"):
        criterion = SemiSupConLoss(reduction=reduction, implementation=implementation)
        expected, valid = naive_loss(flat, range(rows), made.signal.weight, 0.1)
        whole = {"mean": naive_mean(expected, valid), "sum": sum(expected), "none": expected}
        torch.testing.assert_close(
            criterion(flat, **made.signal.given),
            torch.tensor(whole[reduction], dtype=torch.float64),
            rtol=1e-10,
            atol=1e-10,
        )


def test_flat_rows_are_those_of_pytorch_metric_learning():
    peers = pytest.importorskip("pytorch_metric_learning.losses")
    rows, labels = torch.randn(12, 8, dtype=torch.float64), torch.arange(12) % 4
    expected = peers.SupConLoss(temperature=0.2)(rows, labels)
    torch.testing.assert_close(SupConLoss(temperature=0.2)(rows, labels), expected)


def test_flat_rows_without_labels_or_ids_are_refused():
    for criterion in (SemiSupConLoss(), SupConLoss(), NTXentLoss()):
        with pytest.raises(ValueError, match=r"items: expected an item id.*embeddings"):
            criterion(torch.randn(4, 8))


@pytest.mark.parametrize("criterion", [SemiSupConLoss(), SupConLoss()])
def test_flat_queries_and_keys_are_matched_row_by_row(criterion):
    queries, keys = torch.randn(2, 6, 8, dtype=torch.float64)
    expected = NTXentLoss()(queries[:, None], keys=keys[:, None])
    torch.testing.assert_close(NTXentLoss()(queries, keys=keys), expected)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    expected = criterion(queries[:, None], labels, keys=keys[:, None])
    torch.testing.assert_close(criterion(queries, labels, keys=keys), expected)


def test_supcon_without_labels_is_nt_xent():
    views = torch.randn(6, 2, 8)
    assert torch.equal(SupConLoss()(views), NTXentLoss()(views))
    assert torch.equal(SupConLoss()(views, None), NTXentLoss()(views))


def test_items_without_a_label_are_own_classes_to_supcon():
    made = random_batch(3, 6, 2, 5, 0.5)
    classes = torch.where(made.signal.labeled, made.signal.labels, 100 + torch.arange(6))
    got = SupConLoss()(made.embeddings, **made.signal.given)
    torch.testing.assert_close(got, SupConLoss()(made.embeddings, classes))


def test_supcon_contrasts_with_labeled_keys():
    made = random_batch(3, 6, 2, 5, 1.0)
    keys = {"keys": torch.randn(4, 5).double(), "key_labels": torch.arange(4) % 3, "key_items": torch.arange(4) + 9}
    given = {"items": torch.arange(6), **keys}
    expected = SemiSupConLoss()(made.embeddings, made.signal.labels, **given)
    torch.testing.assert_close(SupConLoss()(made.embeddings, made.signal.labels, **given), expected)


class PassesOn(NTXentLoss):
    """Takes anything by its signature, and what NTXentLoss takes by what it does."""

    def forward(self, *args, **kwargs):
        return 2 * super().forward(*args, **kwargs)


class Anything(nn.Module):
    def forward(self, **kwargs):
        return kwargs["embeddings"].sum()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (SemiSupConLoss(), EVERYTHING),
        (SupConLoss(), EVERYTHING),
        (NTXentLoss(), ROWS),
        (RankNContrastLoss(), {"labels", "labeled", "items"}),
        (PassesOn(), ROWS),
        (Anything(), EVERYTHING),
        (lambda z, labels: z.sum(), {"labels"}),
        (lambda *z: z[0].sum(), set()),
        (lambda labeled, embeddings: embeddings.sum(), {"labeled"}),
    ],
)
def test_what_a_loss_takes_is_read_from_its_signature(loss, expected):
    assert LossArguments.of(loss).taken == expected


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda: 0, "accepts embeddings"),
        (lambda labels: 0, "accepts embeddings"),
        (lambda *, labels: 0, "accepts embeddings"),
        (lambda z, target: 0, "keywords.*z, target"),
        (nn.CrossEntropyLoss(), "keywords.*CrossEntropyLoss"),
        (SemiSupConLoss, "a module or a function"),
        (3, "a module or a function.*3"),
    ],
)
def test_what_is_no_loss_of_embeddings_is_refused(loss, words):
    with pytest.raises(TypeError, match=f"loss: .*{words}"):
        LossArguments.of(loss)


def test_a_compiled_loss_takes_what_it_is_made_of():
    assert LossArguments.of(torch.compile(NTXentLoss())) == LossArguments.of(NTXentLoss())


def test_losses_with_hard_negatives_are_exact_in_float64():
    embeddings = torch.randn(9, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(embeddings.reshape(18, 4), dim=1)
    similar = (z @ z.T) / 0.5
    total = 0.0
    for i in range(18):
        positive = i ^ 1
        negatives = [j for j in range(18) if j not in (i, positive)]
        weights = [math.exp(similar[i, j]) for j in negatives]
        hard = len(negatives) * sum(math.exp(2 * similar[i, j]) for j in negatives) / sum(weights)
        total += math.log(math.exp(similar[i, positive]) + hard) - float(similar[i, positive])
    for implementation in ("dense", "tiled"):
        loss = NTXentLoss(0.5, beta=1.0, implementation=implementation)(embeddings)
        assert abs(float(loss) - total / 18) < 1e-12


@pytest.mark.parametrize(
    ("dtype", "index"), [(torch.uint8, -1), (torch.uint8, 300), (torch.int8, 172), (torch.int64, 4)]
)
def test_an_ignore_index_beyond_the_labels_dtype_is_no_class(dtype, index):
    embeddings = torch.randn(6, 2, 4)
    labels = torch.tensor([255, 1, 1, 255, 44, 44]).to(dtype).abs()
    plain = SemiSupConLoss(target=SameClass())(embeddings, labels)
    assert torch.equal(SemiSupConLoss(target=SameClass(ignore_index=index))(embeddings, labels), plain)
    with pytest.raises(ValueError, match="ignore_index: expected an integer of 64 bits"):
        SameClass(ignore_index=2**70)


def test_a_memory_keeps_nothing_of_a_transform_or_a_fake_mode():
    memory = CrossBatchMemory(NTXentLoss(), size=8)
    items, batch = torch.arange(3), torch.randn(3, 2, 4)
    torch.func.vmap(lambda own: memory(own, items=items), randomness="different")(torch.randn(2, 3, 2, 4))
    with FakeTensorMode() as mode:
        memory(mode.from_tensor(batch), items=mode.from_tensor(items))
    assert len(memory) == 0
    memory(batch, items=items)
    assert len(memory) == 6
    with pytest.raises(ValueError, match="state: expected the keys embeddings"):
        memory.set_extra_state({"a": 1})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LearnableTemperature("a"), "initial: expected a positive number, got 'a'"),
        (lambda: LearnableTemperature(0.1, (1,)), "bounds: expected a number or"),
        (lambda: cached_backward(lambda x: x, torch.zeros(4, 2), NTXentLoss(), 2), "model: expected an nn.Module"),
        (lambda: cached_backward(nn.Linear(2, 2), torch.zeros(4, 2), "x", 2), "criterion: expected a function"),
        (lambda: cached_backward(nn.Linear(2, 2), torch.zeros(4, 2), lambda z: 1.0, 2), "criterion: .* got float"),
        (lambda: MaxTarget([SameClass()]), "targets: expected a dict of targets by signal, got list"),
    ],
)
def test_what_is_of_another_kind_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint64, torch.int32, torch.bool, torch.float64])
def test_anchor_weights_may_be_of_any_kind_of_number(dtype):
    embeddings, weights = torch.randn(4, 2, 8), torch.tensor([1, 0, 1, 1])
    expected = NTXentLoss()(embeddings, anchor_weights=weights.float())
    torch.testing.assert_close(NTXentLoss()(embeddings, anchor_weights=weights.to(dtype)), expected)
