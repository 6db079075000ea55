"""The losses against a double loop written from the equation, and against what they must reduce to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_reference import naive_loss, naive_mean, random_batch, same_class_weight, shared_labels_weight

from ssc_toolkit.losses import NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import SharedLabels

batches = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "items": st.integers(1, 7),
        "views": st.integers(1, 4),
        "dim": st.integers(1, 6),
        "classes": st.integers(1, 4),
        "share_labeled": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    }
)
temperatures = st.sampled_from([0.01, 0.05, 0.1, 0.5, 2.0])


def flat(embeddings, *per_item):
    views = embeddings.shape[1]
    return embeddings.flatten(0, 1), *(tensor.repeat_interleave(views, dim=0) for tensor in per_item)


@given(batch=batches, temperature=temperatures)
def test_equals_the_double_loop_for_classes(batch, temperature):
    embeddings, labels, labeled = random_batch(**batch)
    rows, items, row_labels, row_labeled = flat(embeddings, torch.arange(len(embeddings)), labels, labeled)
    losses, valid = naive_loss(rows, items, same_class_weight(row_labels, row_labeled), temperature)
    got = {
        reduction: semi_supcon_loss(embeddings, labels, labeled, temperature=temperature, reduction=reduction)
        for reduction in ("mean", "sum", "none")
    }
    assert got["mean"].item() == pytest.approx(naive_mean(losses, valid), rel=1e-9, abs=1e-9)
    assert got["sum"].item() == pytest.approx(sum(losses), rel=1e-9, abs=1e-9)
    assert got["none"].shape == embeddings.shape[:2]
    assert got["none"].flatten().tolist() == pytest.approx(losses, rel=1e-9, abs=1e-9)


@given(batch=batches, minimum=st.integers(1, 3), temperature=temperatures)
def test_equals_the_double_loop_for_shared_labels(batch, minimum, temperature):
    embeddings, _, labeled = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"] + 1)
    tags = torch.randint(0, 2, (len(embeddings), 4), generator=generator)
    rows, items, row_tags, row_labeled = flat(embeddings, torch.arange(len(embeddings)), tags, labeled)
    losses, valid = naive_loss(rows, items, shared_labels_weight(row_tags, row_labeled, minimum), temperature)
    got = semi_supcon_loss(
        embeddings, tags.float(), labeled, target=SharedLabels(minimum=minimum), temperature=temperature
    )
    assert got.item() == pytest.approx(naive_mean(losses, valid), rel=1e-9, abs=1e-9)


@given(batch=batches)
def test_flat_form_takes_any_ids_in_any_order(batch):
    embeddings, labels, labeled = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"])
    ids = torch.randperm(1000, generator=generator)[: len(embeddings)] - 500
    rows, items, row_labels, row_labeled = flat(embeddings, ids, labels, labeled)
    order = torch.randperm(len(rows), generator=generator)
    expected = semi_supcon_loss(embeddings, labels, labeled, reduction="none").flatten()
    got = semi_supcon_loss(rows[order], row_labels[order], row_labeled[order], items=items[order], reduction="none")
    torch.testing.assert_close(got, expected[order])


@given(batch=batches, scale=st.floats(1e-3, 1e3))
def test_invariant_to_rotation_and_scale_of_embeddings_and_names_of_classes(batch, scale):
    embeddings, labels, labeled = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"])
    dim = embeddings.shape[-1]
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    renamed = torch.randperm(batch["classes"], generator=generator)[labels]
    expected = semi_supcon_loss(embeddings, labels, labeled)
    torch.testing.assert_close(semi_supcon_loss(embeddings @ rotation * scale, renamed, labeled), expected)


@given(batch=batches)
def test_no_labels_is_nt_xent(batch):
    embeddings, labels, _ = random_batch(**batch)
    expected = NTXentLoss()(embeddings)
    torch.testing.assert_close(SemiSupConLoss()(embeddings), expected)
    nothing_known = torch.zeros(len(embeddings), dtype=torch.bool)
    torch.testing.assert_close(SemiSupConLoss()(embeddings, labels, nothing_known), expected)


@given(batch=batches)
def test_all_labels_is_supcon(batch):
    embeddings, labels, _ = random_batch(**batch)
    everything_known = torch.ones(len(embeddings), dtype=torch.bool)
    expected = SupConLoss()(embeddings, labels)
    torch.testing.assert_close(SemiSupConLoss()(embeddings, labels, everything_known), expected)
    torch.testing.assert_close(SemiSupConLoss()(embeddings, labels), expected)


def test_two_views_of_one_item_alone_have_loss_zero():
    embeddings = torch.randn(1, 2, 4)
    assert NTXentLoss(reduction="none")(embeddings).tolist() == [[0.0, 0.0]]


def test_closed_form_of_orthogonal_items():
    # Two items, two identical views each, the items orthogonal: one positive at 1/t, two negatives at 0.
    embeddings = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)
    expected = math.log(math.exp(10.0) + 2) - 10.0
    assert NTXentLoss(temperature=0.1)(embeddings).item() == pytest.approx(expected, rel=1e-6)


def test_anchors_without_positives_do_not_count():
    embeddings = torch.randn(5, 1, 8, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2, 3])
    losses = semi_supcon_loss(embeddings, labels, reduction="none")
    assert (losses[2:] == 0).all()
    torch.testing.assert_close(semi_supcon_loss(embeddings, labels), losses[:2].mean())


@pytest.mark.parametrize("items", [1, 4])
def test_a_batch_without_positives_gives_zero_and_zero_gradients(items):
    embeddings = torch.randn(items, 1, 8, requires_grad=True)
    loss = semi_supcon_loss(embeddings)
    loss.backward()
    assert loss.item() == 0
    assert (embeddings.grad == 0).all()


def test_one_class_for_the_whole_batch():
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    loss = semi_supcon_loss(embeddings, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss.item() > 0
    assert embeddings.grad.isfinite().all()


def test_nan_in_unlabelled_rows_changes_nothing():
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    tags = torch.randint(0, 2, (4, 3)).float()
    labeled = torch.tensor([True, True, False, False])
    unknown = torch.where(labeled[:, None], tags, torch.nan)
    loss = semi_supcon_loss(embeddings, unknown, labeled, target=SharedLabels())
    torch.testing.assert_close(loss, semi_supcon_loss(embeddings, tags, labeled, target=SharedLabels()))
    loss.backward()
    assert embeddings.grad.isfinite().all()


def test_an_unlabelled_item_only_adds_a_negative():
    embeddings, labels, _ = random_batch(0, 4, 2, 8, 2, 1.0)
    stranger = torch.randn(1, 2, 8, dtype=torch.float64)
    labeled = torch.tensor([True] * 4 + [False])
    before = semi_supcon_loss(embeddings, labels, reduction="none")
    after = semi_supcon_loss(
        torch.cat([embeddings, stranger]), torch.cat([labels, labels[:1]]), labeled, reduction="none"
    )
    assert (after[:4] > before).all()


def test_any_callable_is_a_target():
    embeddings, labels, labeled = random_batch(3, 5, 2, 8, 3, 0.7)
    soft = lambda rows, columns: torch.exp(-((rows[:, None] - columns[None, :]) ** 2).double())  # noqa: E731
    rows, items, row_labels, row_labeled = flat(embeddings, torch.arange(5), labels, labeled)
    weight = lambda i, j: (  # noqa: E731
        math.exp(-((int(row_labels[i]) - int(row_labels[j])) ** 2)) if row_labeled[i] and row_labeled[j] else 0.0
    )
    expected = naive_mean(*naive_loss(rows, items, weight, 0.1))
    assert semi_supcon_loss(embeddings, labels, labeled, target=soft).item() == pytest.approx(expected, rel=1e-9)


def test_gradcheck():
    embeddings, labels, labeled = random_batch(1, 3, 2, 4, 2, 0.7)
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: semi_supcon_loss(z, labels, labeled, temperature=0.5), embeddings)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("kind", ["random", "identical views", "all equal", "orthogonal views"])
def test_half_precision_is_finite_and_near_float64(dtype, temperature, kind):
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
    loss = semi_supcon_loss(half, labels, temperature=temperature)
    expected = semi_supcon_loss(exact, labels, temperature=temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    loss.backward()
    expected.backward()
    largest = exact.grad.abs().max()
    assert half.grad.isfinite().all()
    # One unit in the last place of the dtype, relative to the largest gradient.
    assert (half.grad.double() - exact.grad).abs().max() <= largest * torch.finfo(dtype).eps + 1e-5


def test_autocast_does_not_lower_the_precision_of_similarities():
    embeddings, labels, labeled = random_batch(5, 6, 2, 16, 3, 0.5)
    embeddings = embeddings.float()
    expected = semi_supcon_loss(embeddings, labels, labeled, temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = semi_supcon_loss(embeddings, labels, labeled, temperature=0.01)
    torch.testing.assert_close(got, expected)


def test_compiles_without_a_graph_break():
    embeddings, labels, labeled = random_batch(5, 6, 2, 16, 3, 0.5)
    compiled = torch.compile(semi_supcon_loss, fullgraph=True)
    torch.testing.assert_close(compiled(embeddings, labels, labeled), semi_supcon_loss(embeddings, labels, labeled))


three = torch.randn(4, 2, 8)
classes = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"embeddings": torch.zeros(4, 2, 8, dtype=torch.long)}, TypeError, "embeddings"),
        ({"embeddings": torch.randn(8)}, ValueError, "embeddings"),
        ({"embeddings": torch.randn(4, 8)}, ValueError, "items"),
        ({"embeddings": torch.randn(4, 8), "items": torch.arange(3)}, ValueError, "items"),
        ({"embeddings": torch.randn(4, 8), "items": torch.rand(4)}, TypeError, "items"),
        ({"embeddings": three, "items": torch.arange(4)}, ValueError, "items"),
        ({"embeddings": three, "labels": torch.arange(3)}, ValueError, "labels"),
        ({"embeddings": three, "labels": torch.tensor(1)}, ValueError, "labels"),
        ({"embeddings": three, "labels": torch.rand(4)}, TypeError, "labels"),
        ({"embeddings": three, "labels": torch.tensor([0, -1, 0, 1])}, ValueError, "negative"),
        ({"embeddings": three, "labels": torch.ones(4, 3)}, ValueError, "SharedLabels"),
        ({"embeddings": three, "labels": classes, "target": SharedLabels()}, ValueError, "multi-hot"),
        (
            {"embeddings": three, "labels": torch.full((4, 3), torch.nan), "target": SharedLabels()},
            ValueError,
            "0 or 1",
        ),
        ({"embeddings": three, "labeled": classes.bool()}, ValueError, "without labels"),
        ({"embeddings": three, "labels": classes, "labeled": classes}, TypeError, "labeled"),
        ({"embeddings": three, "labels": classes, "labeled": torch.ones(3, dtype=torch.bool)}, ValueError, "labeled"),
        ({"embeddings": three, "temperature": 0.0}, ValueError, "temperature"),
        ({"embeddings": three, "temperature": math.nan}, ValueError, "temperature"),
        ({"embeddings": three, "reduction": "average"}, ValueError, "reduction"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        semi_supcon_loss(**arguments)


def test_modules_refuse_bad_settings():
    with pytest.raises(ValueError, match="temperature"):
        SemiSupConLoss(temperature=-1)
    with pytest.raises(ValueError, match="reduction"):
        NTXentLoss(reduction="median")
    with pytest.raises(ValueError, match="minimum"):
        SharedLabels(minimum=0)
